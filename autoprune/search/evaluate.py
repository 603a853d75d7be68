"""A candidate's way down the house: priced, cut, timed, healed, scored."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from autoprune.cost import Costs, Latency
from autoprune.errors import TrialError
from autoprune.recovery import Recipe, finetune, recalibrate, steps_for_epochs
from autoprune.search.feasible import Widths, excess
from autoprune.search.problem import Problem
from autoprune.search.timing import Timer
from autoprune.structure.plans import AnyPlan
from autoprune.tasks import Score, evaluate

DEFAULT_STEPS, DEFAULT_EPOCHS = 150, 5
"""Length of the recovery when none is given: this many steps, or epochs where those are fewer."""


class OverBudget(Exception):  # noqa: N818 - an outcome, not an error
    """The candidate costs too much and was not trained."""

    def __init__(self, reason: str, excess: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.excess = dict(excess)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A pruned model with everything that is known about it.

    Attributes:
        widths: units kept in every group.
        plan: which ones; None for the uncut model.
        model: the healed network.
        score: quality on the validation split.
        costs: FLOPs, parameters, size.
        latency: measured against the uncut model, or None when not measured.
        excess: how far it is over each limit, relative; all 0 or less.
        seconds: time spent on each stage.
    """

    widths: Widths
    plan: AnyPlan | None
    model: nn.Module
    score: Score
    costs: Costs
    latency: Latency | None
    excess: Mapping[str, float]
    seconds: Mapping[str, float]


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


def recipe_of(problem: Problem) -> Recipe | None:
    """The short recovery that the settings ask for; None where they ask for none."""
    config = problem.config
    steps = config.finetune_steps
    if steps is None:
        steps = min(DEFAULT_STEPS, steps_for_epochs(DEFAULT_EPOCHS, problem.data.train, config.batch_size))
    if steps == 0:
        return None
    return Recipe(
        steps=steps,
        optimizer=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        label_smoothing=config.label_smoothing,
        distill=config.distill,
    )


def evaluate_candidate(
    problem: Problem, widths: Widths, plan: AnyPlan | None = None, timer: Timer | None = None
) -> Candidate:
    """Cut the model to these widths, heal it, and measure quality and costs.

    The units that stay are the highest-ranked ones, or those of `plan`; `timer` takes the place of a
    measurement with the problem's meter. The same plan, weights, data and
    seed give the same quality, whatever ran before.

    Raises:
        OverBudget: before any training, when a limit is not met.
        TrialError: when the candidate cannot be run or healed.
    """
    over = excess(problem, widths)
    if any(value > 0 for value in over.values()):
        raise OverBudget(over_text(over), over)
    watch = Stopwatch()
    if plan is None and widths != problem.structure.widths:
        plan = problem.plan(widths)
    with watch.stage("cut"):
        model = cut_model(problem, plan)
    with watch.stage("latency"):
        latency = latency_of(problem, model, timer)
    over |= latency_excess(problem, latency)
    if any(value > 0 for value in over.values()):
        raise OverBudget(over_text(over), over)
    if plan is None:
        score = problem.baseline.score
    else:
        _heal(problem, model, plan, watch)
        with watch.stage("evaluate"):
            score = evaluate(model, problem.data.validation, problem.data.task)
        if not math.isfinite(score.value):
            raise TrialError(f"the validation metric became {score.value}; lower --lr")
    costs = problem.baseline.costs if plan is None else problem.costs.costs(widths)
    return Candidate(widths, plan, model, score, costs, latency, over, watch.seconds)


def cut_model(problem: Problem, plan: AnyPlan | None) -> nn.Module:
    """The pruned network before recovery; for the empty plan the uncut model itself."""
    return problem.model if plan is None else problem.pruning.cut(plan)


def recover(problem: Problem, plan: AnyPlan) -> nn.Module:
    """Cut and heal exactly as the search did; gives the same weights again."""
    model = cut_model(problem, plan)
    _heal(problem, model, plan, Stopwatch())
    return model


def _heal(problem: Problem, model: nn.Module, plan: AnyPlan, watch: Stopwatch) -> None:
    with watch.stage("recalibrate"):
        recalibrate(model, (inputs for inputs, _ in problem.calibration))
    recipe = recipe_of(problem)
    if recipe is not None:
        with watch.stage("finetune"), problem.pruning.training(model, plan):
            finetune(model, problem.data, recipe, seed=_seed(problem, plan), teacher=problem.model)


def _seed(problem: Problem, plan: AnyPlan) -> int:
    """A seed of the plan's own, so that the result does not depend on which trial it is."""
    digest = hashlib.sha256(f"{problem.config.seed} {plan.hash}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def latency_of(problem: Problem, model: nn.Module, timer: Timer | None = None) -> Latency | None:
    """Latency of a model beside the uncut one; None when it is not measured."""
    if problem.meter is None:
        return None
    return (timer or problem.meter.measure)(model)


def latency_excess(problem: Problem, latency: Latency | None) -> dict[str, float]:
    """The upper end of the interval has to meet the budget, in the uncut model's time."""
    limit = problem.limits.get("latency")
    if limit is None or latency is None or problem.baseline.latency is None:
        return {}
    return {"latency": latency.ratio_high * problem.baseline.latency / limit - 1}


def over_text(over: Mapping[str, float]) -> str:
    """Which limits are not met, and by how much."""
    parts = [f"{what} {value:.1%} over" for what, value in over.items() if value > 0]
    return f"over budget: {', '.join(parts)}"
