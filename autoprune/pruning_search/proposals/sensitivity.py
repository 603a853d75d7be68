"""How much the loss rises when a group becomes narrower, measured once in the life of a study."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from autoprune.criteria.curve import Curve, curves_through
from autoprune.errors import TrialError
from autoprune.pruning_search.coordination.budget_usage import usage_of
from autoprune.pruning_search.evaluation.evaluate import cut_model
from autoprune.pruning_search.problem.budget_fit import fit_proportions
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.width_grid import AnyGrid, widths_of
from autoprune.pruning_search.proposals.sensitivity_effort import (
    FULL,
    LESS,
    SHARE,
    Effort,
    affordable,
    borrow_points,
)
from autoprune.recovery.batchnorm import batch_statistics
from autoprune.structure.plans import Widths
from autoprune.study.attributes import SENSITIVITY
from autoprune.study.listener import Listener
from autoprune.tasks import LoaderSplit, Split, evaluate

POINTS = FULL.points
"""Measured widths of a group below its full one; the curve goes monotonically in between."""
CONTEXT = 0.6
"""Share of the budget that all other groups take meanwhile: plans are looked for between a third and all."""
AT_BUDGET = 0.8
"""The same where one plan is looked for that takes all of it."""
SAMPLES = FULL.samples
"""Samples of the selection split on which the losses are computed."""
BATCH = 256
"""Most of them in a batch, whose own statistics stand for BatchNorm's recalibrated ones."""

Points = dict[str, dict[str, float | None]]
"""Group -> width, as a text, -> increase of the loss; None for one that is not finite."""


def sensitivity(problem: Problem, study: optuna.Study, listener: Listener) -> dict[str, Curve]:
    """The study's sensitivity curves, one a group; those that it lacks are measured and stored first.

    The context is a uniform cut to the middle of the levels that are tried, for there the plans will be: what
    a group loses while all others are whole says little about what it loses when nothing makes up for it
    any more. From its full width the group alone is cut to a few others and compensated as every candidate
    is; BatchNorm takes the statistics of the batch at hand. The increases of the task's mean loss are all on
    the same first samples of the selection split. Other processes and later runs of the study read what is
    stored.

    Where the budget limits time, this takes at most the share :data:`SHARE` of it: fewer samples and widths,
    and at the end of that time groups without a measurement get what others lose.
    """
    record: dict[str, Any] = dict(study.user_attrs.get(SENSITIVITY, {}))
    points: Points = dict(record.get("points", {}))
    missing = [name for name in problem.structure.widths if name not in points]
    if missing:
        start, before = time.perf_counter(), record.get("seconds", 0.0)
        context: Widths = record.get("context") or fit_proportions(
            problem.budget_model, problem.structure.widths, CONTEXT
        )
        left = usage_of(problem.budget, study).seconds_left
        allowed = math.inf if left is None else SHARE * left
        effort = _effort(problem, context, missing, allowed)
        if effort != FULL:
            listener.note(
                f"time is short: sensitivity takes {effort.samples} samples, {effort.points} widths a group"
            )
        for name, increases in _measure(problem, missing, context, listener, effort):
            points[name] = increases
            taken = time.perf_counter() - start
            if taken > allowed:
                points |= _borrow_missing(problem, points, listener)
            seconds = round(before + taken, 3)
            record = {"samples": effort.samples, "context": context, "seconds": seconds, "points": points}
            study.set_user_attr(SENSITIVITY, record)
            if taken > allowed:
                break
    return curves_of(problem.budget_model, points)


def _effort(problem: Problem, context: Widths, groups: Sequence[str], seconds: float) -> Effort:
    """How thoroughly these groups can be measured in that time."""
    if math.isinf(seconds):
        return FULL
    return affordable(lambda samples: loss_of(problem, context, samples), len(groups), seconds)


def _borrow_missing(problem: Problem, points: Points, listener: Listener) -> Points:
    """Points for the groups that have none; the listener is notified how many there are."""
    full = problem.structure.widths
    missing = [name for name in full if name not in points]
    if missing:
        listener.note(
            f"time is short: sensitivity was measured for {len(points)} of {len(full)} groups, and the "
            "others are taken to lose what those do"
        )
    widths = {
        name: widths_to_measure(problem.budget_model.grids[name], full[name], LESS[-1].points)
        for name in missing
    }
    return {name: borrow_points(points, full, widths[name], full[name]) for name in missing}


def measure_curves(
    problem: Problem,
    listener: Listener,
    *,
    samples: int = SAMPLES,
    context: float = CONTEXT,
    seconds: float = math.inf,
) -> dict[str, Curve]:
    """The curves of all groups, for this once.

    Args:
        problem: the model and its data.
        listener: of the progress.
        samples: so many samples of the selection split give the losses.
        context: share of the budget that all other groups take.
        seconds: after which groups without a measurement get what others lose.
    """
    full, began = problem.structure.widths, time.perf_counter()
    others = fit_proportions(problem.budget_model, full, context)
    points: Points = {}
    for name, increases in _measure(problem, list(full), others, listener, Effort(POINTS, samples)):
        points[name] = increases
        if time.perf_counter() - began > seconds:
            points |= _borrow_missing(problem, points, listener)
            break
    return curves_of(problem.budget_model, points)


def recorded_curves(budget: BudgetModel, study: optuna.Study) -> dict[str, Curve]:
    """The curves that the study has. Raises KeyError before all groups have been measured."""
    return curves_of(budget, study.user_attrs[SENSITIVITY]["points"])


def curves_of(budget: BudgetModel, points: Points) -> dict[str, Curve]:
    """Group -> curve over the widths that are tried, through the measured points."""
    measured = {name: {int(width): value for width, value in row.items()} for name, row in points.items()}
    offered = {name: widths_of(grid) for name, grid in budget.grids.items()}
    return curves_through(measured, budget.pruning.structure.widths, offered)


def widths_to_measure(grid: AnyGrid, full: int, points: int = POINTS) -> list[int]:
    """At most so many widths below the full one: the narrowest, and others at even distances."""
    below = [width for width in widths_of(grid) if width < full]
    places = np.linspace(0, len(below), points, endpoint=False).astype(int)
    return sorted({below[place] for place in places}) if below else []


def loss(problem: Problem, model: nn.Module, samples: int = SAMPLES) -> float:
    """Mean loss on the first samples that guide; infinite where the output is not finite."""
    selection = problem.splits.selection
    samples = min(samples, len(selection))
    # Batches of one size: a last one of a few samples would have statistics of its own.
    size = math.ceil(samples / math.ceil(samples / BATCH))
    # One sample has no statistics of its own.
    alone = samples == 1 or (isinstance(selection, LoaderSplit) and selection.loader.batch_size == 1)
    try:
        with nullcontext() if alone else batch_statistics(model):
            score = evaluate(
                model,
                selection if alone else _WithoutSingles(selection),
                problem.data.task,
                batch_size=size,
                enough=lambda sofar: sofar.samples >= samples,
            )
    except TrialError:
        return math.inf
    return score.loss


@dataclass(frozen=True, eq=False)
class _WithoutSingles:
    """A split without its batches of one sample, which a user's own loader may end with."""

    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`autoprune.tasks.data.Split`."""
        pairs = self.split.batches(batch_size, shuffle=shuffle)
        return ((inputs, targets) for inputs, targets in pairs if len(inputs) > 1)


def loss_of(problem: Problem, widths: Widths, samples: int) -> float:
    """Loss of the model that is cut to these widths, without training; infinite where that is not finite."""
    if problem.structure.canonical(widths) == problem.structure.widths:
        return loss(problem, problem.pruning.origin.model, samples)
    plan = problem.pruning.plan(widths)
    model = cut_model(problem, plan)
    problem.recovery.repair.compensate(model, plan)
    return loss(problem, model, samples)


def _measure(
    problem: Problem, names: Sequence[str], context: Widths, listener: Listener, effort: Effort
) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Each group with its points, one after the other, with progress."""
    listener.phase("sensitivity", f"of {len(names)} groups")
    for done, name in enumerate(names):
        listener.progress(done / len(names), name)
        yield name, _increases(problem, context, name, effort)


def _increases(problem: Problem, context: Widths, group: str, effort: Effort) -> dict[str, float | None]:
    full = problem.structure.widths[group]
    base = loss_of(problem, {**context, group: full}, effort.samples)
    increases: dict[str, float | None] = {}
    for width in widths_to_measure(problem.budget_model.grids[group], full, effort.points):
        increase = loss_of(problem, {**context, group: width}, effort.samples) - base
        increases[str(width)] = round(increase, 6) if math.isfinite(increase) else None
    return increases
