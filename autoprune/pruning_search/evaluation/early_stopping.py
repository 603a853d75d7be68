"""Early stopping: a candidate is fine-tuned and scored in full only while cheaper estimates support it.

Three stages come before the final quality. The *costs* of a candidate are known without running it. The
*proxy* is its quality when it is pruned and repaired, without training. The *checkpoint* comes after a third
of its recovery. A candidate that is stopped early is still reported to the study as a finished trial, with a
forecast as its quality: the Gaussian process and the genetic samplers read finished trials only, and would
keep suggesting poor regions that they never heard of. The forecast is capped by the best candidate of no more
cost that was scored in full, so that the trial is dominated and never appears on the front.

Stopping at the proxy is successive halving without waiting (Li et al., "A System for Massively Parallel
Hyperparameter Tuning", 2020), by non-dominated rank and then hypervolume contribution instead of one number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from sklearn.isotonic import IsotonicRegression
from torch import nn

from autoprune.cost import Costs, Latency
from autoprune.errors import TrialError
from autoprune.pruning_search.problem.problem import Problem
from autoprune.recovery import OnStep
from autoprune.study.attributes import DUPLICATE_OF, STAGES, STOPPED, UNTRAINED
from autoprune.study.diagnostics import CHECKPOINT, COST, PROXY, predictor
from autoprune.study.front import affordable_trials
from autoprune.tasks import Score, evaluate

FIRST_TRIALS = 10
"""Candidates scored in full before any is stopped early: fewer do not show what an estimate is worth."""
SHARE = 0.5
"""Share of the candidates seen, the best by their proxies, that are fine-tuned."""
MOST_IN_A_ROW = 4
"""Candidates stopped early in a row; the next one is scored in full, which reveals a stage that misleads."""
FIRST_SAMPLES, BATCH = 512, 256
"""Samples of a proxy whose case is clear, and how many are added at a time to one that is not."""
CHECKPOINT_SAMPLES, CHECKPOINT_AT, LEAST_STEPS = 1000, 1 / 3, 30
"""Samples of the estimate inside fine-tuning, its place, and the shortest recovery that has one."""
MARGIN = 2.0
"""Standard errors by which a candidate has to lag behind, even with the best gain seen so far."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stop:
    """Why a candidate was stopped early.

    Attributes:
        stage: the stage that decided.
        expected: forecast of its final quality.
        reason: for people.
    """

    stage: str
    expected: float
    reason: str


class Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """A candidate is stopped early."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


@dataclass(frozen=True)
class SeenCandidate:
    """A candidate that was seen: its costs, its estimates and its final loss, all to be minimised.

    Attributes:
        costs: objective values after the first.
        loss: the first objective value, a forecast unless it was scored in `full`.
        full: whether it was.
        estimates: stage -> loss by that stage's estimate.
    """

    costs: tuple[float, ...]
    loss: float
    full: bool
    estimates: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class EarlyStopping:
    """What the study so far says about a next candidate.

    Attributes:
        problem: the search.
        seen: candidates seen, without repeated plans.
        off: stages that do not predict the final quality.
        exempt: why the next candidate is scored in full whatever the stages say; empty where they decide.
    """

    problem: Problem
    seen: Sequence[SeenCandidate]
    off: frozenset[str]
    exempt: str

    @property
    def sign(self) -> float:
        """What turns a quality into a loss."""
        return -1.0 if self.problem.data.task.higher_is_better else 1.0

    def start(self, costs: Sequence[float]) -> CandidateStages:
        """The stages of a candidate with these objective values after the first."""
        return CandidateStages(self, tuple(costs))

    def with_stage(self, stage: str) -> list[SeenCandidate]:
        """Candidates scored in full that have the stage's estimate."""
        return [item for item in self.seen if item.full and stage in item.estimates]

    def best_loss(self, costs: Sequence[float]) -> float:
        """Least final loss of those scored in full that cost no more; infinite without any."""
        losses = [
            item.loss
            for item in self.seen
            if item.full and all(own <= other for own, other in zip(item.costs, costs, strict=True))
        ]
        return min(losses, default=math.inf)


@dataclass(eq=False)
class CandidateStages:
    """The stages of one candidate; ``stages`` is recorded on its trial."""

    early_stopping: EarlyStopping
    costs: tuple[float, ...]
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stages[COST] = {"estimate": self.costs[0], "decision": "within the budget"}

    def proxy(self, model: nn.Module) -> None:
        """Score the repaired model without training, on more samples the closer the case. Raises Stopped."""
        problem, seen = self.early_stopping.problem, self._points(PROXY)

        def enough(score: Score) -> bool:
            if score.samples < min(FIRST_SAMPLES, len(problem.splits.selection)):
                return False
            loss, error = self._loss(score), self._error(score)
            ends = [place(seen, (loss + shift, *self.costs)).promoted for shift in (-error, error)]
            return self._why_on(PROXY) != "" or ends[0] == ends[1]

        try:
            score = evaluate(
                model, problem.splits.selection, problem.data.task, batch_size=BATCH, enough=enough
            )
        except TrialError:
            # What overflows without training may still recover.
            self.stages[PROXY + " skipped"] = {"decision": "its output is not finite without training"}
            return
        standing = place(seen, (self._loss(score), *self.costs))
        entry = self._record(PROXY, score)
        entry |= {"rank": standing.rank, "ahead": standing.ahead, "of": len(seen)}
        self._decide(
            PROXY,
            standing.promoted,
            self._expected(score),
            f"{standing.ahead} of {len(seen)} candidates are ahead of it without training",
        )

    def checkpoint(self, model: nn.Module) -> None:
        """Score the model in the middle of its recovery. Raises Stopped."""
        problem = self.early_stopping.problem
        score = evaluate(
            model,
            problem.splits.selection,
            problem.data.task,
            batch_size=BATCH,
            enough=lambda sofar: sofar.samples >= CHECKPOINT_SAMPLES,
        )
        self._record(CHECKPOINT, score)
        scored = self.early_stopping.with_stage(CHECKPOINT)
        gains = [item.loss - item.estimates[CHECKPOINT] for item in scored] or [0.0]
        loss, best = self._loss(score), self.early_stopping.best_loss(self.costs)
        hopeless = loss + min(gains) - MARGIN * self._error(score) > best
        expected = max(loss + float(np.median(gains)), best)
        self._decide(
            CHECKPOINT,
            not hopeless,
            expected,
            "a candidate of no more cost is better by more than recovery ever gained from here",
        )

    def on_step(self, model: nn.Module, steps: int) -> OnStep | None:
        """What fine-tuning of so many steps calls after each; None where it is too short to stop."""
        if steps < LEAST_STEPS:
            return None
        at = math.ceil(steps * CHECKPOINT_AT)

        def check(step: int, _loss: float) -> None:
            if step == at:
                self.checkpoint(model)

        return check

    def _decide(self, stage: str, promoted: bool, expected: float, reason: str) -> None:
        why = "" if promoted else self._why_on(stage)
        entry = self.stages[stage]
        if promoted or why:
            entry["decision"] = why or "promoted"
            return
        entry["decision"] = "stopped"
        quality = self.early_stopping.sign * expected
        raise Stopped(Stop(stage, quality, f"stopped early at the {stage}: {reason}"))

    def _why_on(self, stage: str) -> str:
        """Why the candidate goes on whatever this stage says; empty where the stage decides."""
        if self.early_stopping.exempt:
            return self.early_stopping.exempt
        if len(self.early_stopping.with_stage(stage)) < FIRST_TRIALS:
            return "too little is known yet"
        if stage in self.early_stopping.off:
            return "the stage does not predict"
        if self.early_stopping.best_loss(self.costs) == math.inf:
            return "nothing is cheaper"
        return ""

    def _expected(self, score: Score) -> float:
        """The final loss that a monotone curve through earlier candidates gives for a proxy."""
        scored = self.early_stopping.with_stage(PROXY)
        if len(scored) < 2:
            return self._loss(score)
        curve = IsotonicRegression(out_of_bounds="clip")
        curve.fit([item.estimates[PROXY] for item in scored], [item.loss for item in scored])
        return max(float(curve.predict([self._loss(score)])[0]), self.early_stopping.best_loss(self.costs))

    def _points(self, stage: str) -> Array:
        """Estimate and costs ``[candidates, objectives]`` of all that have the stage's estimate."""
        estimated = [item for item in self.early_stopping.seen if stage in item.estimates]
        rows = [(item.estimates[stage], *item.costs) for item in estimated]
        return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(self.costs))

    def _loss(self, score: Score) -> float:
        return self.early_stopping.sign * score.value

    def _error(self, score: Score) -> float:
        noise = score.noise(self.early_stopping.problem.data.task)
        return 0.0 if noise is None else noise.error

    def _record(self, stage: str, score: Score) -> dict[str, Any]:
        entry = {"estimate": score.value, "error": self._error(score), "samples": score.samples}
        self.stages[stage] = entry
        return entry


@dataclass(frozen=True)
class ParetoPlace:
    """Where a candidate stands among those seen.

    Attributes:
        rank: non-dominated rank, 0 for the front.
        ahead: candidates of better rank, or of the same rank and more hypervolume of their own.
        promoted: whether it is on the front, or in the better share.
    """

    rank: int
    ahead: int
    promoted: bool


def place(seen: Array, own: Sequence[float]) -> ParetoPlace:
    """Place of a point among others ``[candidates, objectives]``, all to be minimised."""
    points = np.vstack([seen, np.array([own], dtype=np.float64)])
    ranks = moocore.pareto_rank(points)
    rank = int(ranks[-1])
    same = points[ranks == rank]
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    scaled = (same - low) / np.where(span > 0, span, 1.0)
    # A reference point beyond the worst of all: the ends of a front have a share of their own too.
    contributions = moocore.hv_contributions(scaled, ref=[1.1] * points.shape[1])
    ahead = int((ranks < rank).sum()) + int((contributions > contributions[-1]).sum())
    return ParetoPlace(rank, ahead, rank == 0 or ahead < SHARE * len(points))


def early_stopping_for(problem: Problem, study: optuna.Study, *, exempt: str = "") -> EarlyStopping | None:
    """Early stopping for the next candidate; None where it is switched off or nothing is fine-tuned.

    Nor is there one with several qualities: its stages estimate the first alone, and a candidate that falls
    behind in that may be ahead in another.
    """
    if not problem.config.early_stopping or problem.config.finetune_steps == 0 or problem.subject.others:
        return None
    sign = -1.0 if problem.data.task.higher_is_better else 1.0
    trials = [
        trial for trial in affordable_trials(study) if not {DUPLICATE_OF, UNTRAINED} & trial.user_attrs.keys()
    ]
    staged = [trial for trial in trials if STAGES in trial.user_attrs]
    stages = [predictor(study, staged, stage) for stage in (PROXY, CHECKPOINT)]
    off = frozenset(item.stage for item in stages if not item.predicts)
    if not exempt and _all_stopped(trials[-MOST_IN_A_ROW:]):
        exempt = f"{MOST_IN_A_ROW} in a row were stopped early"
    return EarlyStopping(problem, [_seen_candidate(trial, sign) for trial in trials], off, exempt)


def cost_values(problem: Problem, costs: Costs, latency: Latency | None) -> list[float]:
    """Objective values after the first one, in the order of ``problem.objectives``."""
    values = {name: getattr(costs, name) for name in problem.objectives[1:] if hasattr(costs, name)}
    if latency is not None:
        original = problem.budget_model.original_latency or latency.reference_seconds
        values["latency_ms"] = latency.ratio * original * 1e3
    return [float(values[name]) for name in problem.objectives[1:]]


def _seen_candidate(trial: FrozenTrial, sign: float) -> SeenCandidate:
    stages = trial.user_attrs.get(STAGES, {})
    estimates = {stage: sign * stages[stage]["estimate"] for stage in (PROXY, CHECKPOINT) if stage in stages}
    value, *costs = trial.values
    return SeenCandidate(tuple(costs), sign * value, STOPPED not in trial.user_attrs, estimates)


def _all_stopped(trials: Sequence[FrozenTrial]) -> bool:
    return len(trials) == MOST_IN_A_ROW and all(STOPPED in trial.user_attrs for trial in trials)
