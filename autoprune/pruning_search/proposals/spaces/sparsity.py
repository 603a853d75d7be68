"""Widths as they are."""

from __future__ import annotations

from autoprune.pruning_search.problem.budget_fit import fit
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.width_grid import AnyTrial
from autoprune.pruning_search.proposals.budget_levels import FLOOR
from autoprune.structure.plans import Widths


class SparsitySpace:
    """One integer width a group."""

    def __init__(self, budget: BudgetModel, floor: float = FLOOR) -> None:
        self._budget = budget
        self._floor = floor

    def suggest(self, trial: AnyTrial) -> Widths:
        """Suggested widths, scaled in proportion where they are over the budget or far below it."""
        grids = self._budget.grids
        widths = {name: grid.suggest(trial, name) for name, grid in grids.items()}
        return fit(self._budget, widths, self._floor)

    def parameters(self, widths: Widths) -> dict[str, int | float]:
        """As each group's grid has them: the widths themselves, or their positions on irregular grids."""
        grids = self._budget.grids
        return {name: grids[name].parameter(width) for name, width in widths.items()}
