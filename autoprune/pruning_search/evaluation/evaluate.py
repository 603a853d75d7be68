"""Evaluate one candidate: check its cost, prune, time, fine-tune, score."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from autoprune.cost import Costs, Latency
from autoprune.errors import TrialError
from autoprune.pruning_search.evaluation.early_stopping import (
    CandidateStages,
    EarlyStopping,
    Stop,
    Stopped,
    cost_values,
)
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.latency import Timer
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.subject.subject import EVALUATED
from autoprune.recovery import finetune
from autoprune.structure.plans import AnyPlan, Widths
from autoprune.tasks import Score, evaluate


class OverBudget(Exception):  # noqa: N818 - an outcome, not an error
    """The candidate costs too much and was not trained."""

    def __init__(self, reason: str, excess: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.excess = dict(excess)


@dataclass(frozen=True, eq=False)
class EvaluatedCandidate:
    """A pruned model with everything that is known about it.

    Attributes:
        widths: units kept in every group.
        plan: which ones; None for the original model.
        model: the recovered network.
        score: quality on the selection split; of a candidate that was stopped early, a forecast.
        costs: FLOPs, parameters, size.
        latency: measured against the original model, or None when not measured.
        excess: how far it is over each limit, relative; all 0 or less.
        seconds: time spent on each stage.
        stages: what each stage of early stopping found and decided.
        stop: why the candidate was stopped early; None where it was recovered and scored in full.
        micro_batches: how many each batch was computed in.
        others: qualities beside the score, by name.
    """

    widths: Widths
    plan: AnyPlan | None
    model: nn.Module
    score: Score
    costs: Costs
    latency: Latency | None
    excess: Mapping[str, float]
    seconds: Mapping[str, float]
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stop: Stop | None = None
    micro_batches: int = 1
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def evaluate_candidate(
    problem: Problem,
    widths: Widths,
    plan: AnyPlan | None = None,
    timer: Timer | None = None,
    early_stopping: EarlyStopping | None = None,
    watch: Stopwatch | None = None,
    micro_batches: int = 1,
    *,
    trained: bool = True,
) -> EvaluatedCandidate:
    """Prune the model to these widths, recover it, and measure its quality and costs.

    The units that stay are the highest-ranked ones, or those of `plan`; `timer` takes the place of a
    measurement with the problem's meter; with `early_stopping` the candidate may be stopped early;
    `watch` is where its seconds are added; each batch is computed in so many `micro_batches`; one that is not
    to be `trained` is rebuilt instead. The same plan, weights, data, seed and micro-batches give the same
    quality, whatever ran before.

    Raises:
        OverBudget: before any training, when a limit is not met.
        TrialError: when the candidate cannot be run or recovered.
    """
    over = problem.budget_model.excess(widths)
    if any(value > 0 for value in over.values()):
        raise OverBudget(over_text(over), over)
    watch = watch or Stopwatch()
    if plan is None and widths != problem.structure.widths:
        plan = problem.pruning.plan(widths)
    with watch.stage("cut"):
        model = cut_model(problem, plan)
    with watch.stage("latency"):
        latency = latency_of(problem, model, timer)
    over |= latency_excess(problem.budget_model, latency)
    if any(value > 0 for value in over.values()):
        raise OverBudget(over_text(over), over)
    costs = problem.budget_model.original_costs if plan is None else problem.pruning.costs.costs(widths)
    if plan is None:
        baseline = problem.subject.baseline
        return EvaluatedCandidate(
            widths, plan, model, baseline.score, costs, latency, over, watch.seconds, others=baseline.others
        )
    candidate_stages = (
        None if early_stopping is None else early_stopping.start(cost_values(problem, costs, latency))
    )
    score, stop = _recover_and_score(problem, model, plan, watch, candidate_stages, micro_batches, trained)
    stages = {} if candidate_stages is None else candidate_stages.stages
    with watch.stage("evaluate"):
        others = others_of(problem, model, micro_batches)
    return EvaluatedCandidate(
        widths, plan, model, score, costs, latency, over, watch.seconds, stages, stop, micro_batches, others
    )


def others_of(problem: Problem, model: nn.Module, micro_batches: int = 1) -> dict[str, float]:
    """The qualities beside the first one, on the selection split. Raises TrialError for one that is none."""
    qualities = {
        quality.task.metric: quality.value(model, max(1, EVALUATED // micro_batches))
        for quality in problem.subject.others
    }
    wrong = next((name for name, value in qualities.items() if not math.isfinite(value)), None)
    if wrong is not None:
        raise TrialError(_undefined(wrong, qualities[wrong]))
    return qualities


def _undefined(metric: str, value: float) -> str:
    return (
        f"the metric {metric} became {value}, though all outputs are finite: lower --lr, or choose a metric "
        "that is defined for them"
    )


def _recover_and_score(
    problem: Problem,
    model: nn.Module,
    plan: AnyPlan,
    watch: Stopwatch,
    candidate_stages: CandidateStages | None,
    micro_batches: int,
    trained: bool,
) -> tuple[Score, Stop | None]:
    """Recover the model and score it on the selection split, or return why it was stopped early."""
    try:
        _recover(problem, model, plan, watch, candidate_stages, micro_batches, trained=trained)
    except Stopped as stopped:
        return Score(stopped.stop.expected, math.nan, 0), stopped.stop
    with watch.stage("evaluate"):
        batch_size = max(1, EVALUATED // micro_batches)
        score = evaluate(model, problem.splits.selection, problem.data.task, batch_size=batch_size)
    if not math.isfinite(score.value):
        raise TrialError(_undefined(problem.data.task.metric, score.value))
    return score, None


def cut_model(problem: Problem, plan: AnyPlan | None) -> nn.Module:
    """The pruned network before recovery; for the empty plan the original model itself."""
    return problem.model if plan is None else problem.pruning.cut(plan)


def recover(problem: Problem, plan: AnyPlan, micro_batches: int = 1, *, trained: bool = True) -> nn.Module:
    """Prune and recover exactly as the search did, which gives the same weights again."""
    model = cut_model(problem, plan)
    _recover(problem, model, plan, Stopwatch(), micro_batches=micro_batches, trained=trained)
    return model


def _recover(
    problem: Problem,
    model: nn.Module,
    plan: AnyPlan,
    watch: Stopwatch,
    candidate_stages: CandidateStages | None = None,
    micro_batches: int = 1,
    *,
    trained: bool,
) -> None:
    """Repair the model and fine-tune it, in place. Raises Stopped where `stages` decides so."""
    rebuild = problem.config.rebuild or (problem.config.compensate and not trained)
    problem.recovery.repair(model, plan, rebuild=rebuild, stage=watch.stage)
    recipe = problem.recovery.recipe if trained else None
    if recipe is None:
        return
    if candidate_stages is not None:
        with watch.stage("proxy"):
            candidate_stages.proxy(model)
    on_step = None if candidate_stages is None else candidate_stages.on_step(model, recipe.steps)
    with watch.stage("finetune"), problem.pruning.training(model, plan):
        finetune(
            model,
            problem.data,
            recipe,
            seed=_seed(problem, plan),
            teacher=problem.model,
            on_step=on_step,
            cached_batches=problem.recovery.cached_batches,
            pieces=micro_batches,
        )


def _seed(problem: Problem, plan: AnyPlan) -> int:
    """A seed of the plan's own, so that the result does not depend on which trial it is."""
    digest = hashlib.sha256(f"{problem.config.seed} {plan.hash}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def latency_of(problem: Problem, model: nn.Module, timer: Timer | None = None) -> Latency | None:
    """Latency of a model beside the original; None when it is not measured."""
    if problem.meter is None:
        return None
    return (timer or problem.meter.measure)(model)


def latency_excess(budget: BudgetModel, latency: Latency | None) -> dict[str, float]:
    """The upper end of the interval has to meet the budget, in the original model's time."""
    limit = budget.limits.get("latency")
    if limit is None or latency is None or budget.original_latency is None:
        return {}
    return {"latency": latency.ratio_high * budget.original_latency / limit - 1}


def over_text(over: Mapping[str, float]) -> str:
    """Which limits are not met, and by how much."""
    parts = [f"{what} {value:.1%} over" for what, value in over.items() if value > 0]
    return f"over budget: {', '.join(parts)}"
