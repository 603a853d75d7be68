"""What every space does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from autoprune.search.feasible import used
from autoprune.search.grid import AnyTrial
from autoprune.search.problem import Problem
from autoprune.structure.plans import Widths

LEVEL = "level %"
"""Parameter that says which share of the budget a plan takes, in the spaces that have one."""


class Space(Protocol):
    """A parametrisation of the widths of all groups."""

    def suggest(self, trial: AnyTrial) -> Widths:
        """Ask the trial for parameters and turn them into widths that meet the budget, as far as known."""

    def parameters(self, widths: Widths) -> dict[str, int | float]:
        """Parameters that give these widths or come near them, for a trial that is enqueued.

        A warm start keeps its own widths; the parameters are where the sampler thinks of it.
        """


def suggested_level(trial: AnyTrial, floor: float) -> float:
    """A share of the budget between `floor` and all of it, in whole percent."""
    return trial.suggest_int(LEVEL, _least(floor), 100, log=True) / 100


def nearest_level(problem: Problem, widths: Mapping[str, int], floor: float) -> int:
    """The parameter of the level next to what the widths take."""
    return min(100, max(_least(floor), round(100 * used(problem, widths))))


def _least(floor: float) -> int:
    return max(1, round(100 * floor))
