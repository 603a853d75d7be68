"""What an allocator has to know: curves on the widths that are tried, and exact costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.cost import CostModel
from autoprune.pruning_search.problem.budget_model import CLOSED_FORM, BudgetModel
from autoprune.pruning_search.problem.pruning import ClosedFormCosts
from autoprune.pruning_search.proposals.allocator import AllocationTask, Curve, Spend


def task_of(budget: BudgetModel, curves: Mapping[str, Curve]) -> AllocationTask:
    """The costs of the budget, with a curve for every group."""
    return AllocationTask({name: curves[name] for name in budget.pruning.structure.widths}, spend_of(budget))


def spend_of(budget: BudgetModel) -> Spend:
    """Shares of all limits on closed-form costs, and of one on latency where that can be predicted.

    Without any, the share of the original model's cost that trials are to lower, as in
    :meth:`BudgetModel.used`.
    """
    limits = {what: limit for what, limit in budget.limits.items() if what in CLOSED_FORM}
    if not limits and budget.predictor is None:
        lowered = budget.pruning.cost
        limits = {lowered: float(getattr(budget.original_costs, CLOSED_FORM[lowered]))}
    closed = closed_form(budget.pruning.costs, limits, list(budget.pruning.structure.widths))

    def spend(widths: NDArray[np.int64]) -> NDArray[np.float64]:
        shares = closed(widths)
        if budget.predictor is not None:
            predicted = budget.predictor.ratios(widths) * budget.latency_scale
            shares = np.concatenate([shares, predicted[:, None]], axis=1)
        return shares / budget.original_share

    return spend


def closed_form(costs: ClosedFormCosts, limits: Mapping[str, float], names: Sequence[str]) -> Spend:
    """Shares of the limits by closed forms.

    Args:
        costs: of widths.
        limits: budget name, of those in :data:`CLOSED_FORM` -> the most that may be spent.
        names: groups in the order of the columns of widths.
    """
    fields = {CLOSED_FORM[what]: limit for what, limit in limits.items()}

    def spend(widths: NDArray[np.int64]) -> NDArray[np.float64]:
        shares = np.empty((len(widths), len(fields)))
        if isinstance(costs, CostModel):
            batch = costs.batch(widths)
            for column, (field, limit) in enumerate(fields.items()):
                shares[:, column] = getattr(batch, field) / limit
            return shares
        for row, each in enumerate(widths.tolist()):
            row_costs = costs.costs(dict(zip(names, each, strict=True)))
            shares[row] = [getattr(row_costs, field) / limit for field, limit in fields.items()]
        return shares

    return spend
