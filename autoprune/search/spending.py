"""What an allocator has to know of a problem: curves on the widths that are tried, and exact costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel
from autoprune.search.allocator import Curve, Spend, Task
from autoprune.search.problem import CLOSED_FORM, Problem


def task_of(problem: Problem, curves: Mapping[str, Curve]) -> Task:
    """The problem's costs, with a curve for every group."""
    return Task({name: curves[name] for name in problem.structure.widths}, spend_of(problem))


def spend_of(problem: Problem) -> Spend:
    """Shares of all limits on closed-form costs, and of one on latency where that can be predicted.

    Without any, the share of the uncut model's cost that trials are to lower.
    """
    limits = {CLOSED_FORM[what]: limit for what, limit in problem.limits.items() if what in CLOSED_FORM}
    if not limits and problem.predictor is None:
        lowered = problem.pruning.cost
        limits = {lowered: float(getattr(problem.baseline.costs, lowered))}
    names = list(problem.structure.widths)

    def spend(widths: NDArray[np.int64]) -> NDArray[np.float64]:
        columns = _closed_form(problem, limits, names, widths)
        if problem.predictor is not None:
            columns.append(problem.predictor.ratios(widths) * problem.latency_scale)
        return np.stack(columns, axis=1)

    return spend


def _closed_form(
    problem: Problem, limits: Mapping[str, float], names: list[str], widths: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    if isinstance(problem.costs, CostModel):
        batch = problem.costs.batch(widths)
        return [getattr(batch, field) / limit for field, limit in limits.items()]
    rows = [problem.costs.costs(dict(zip(names, row, strict=True))) for row in widths.tolist()]
    return [np.array([getattr(row, field) for row in rows]) / limit for field, limit in limits.items()]
