"""Departures from a uniform cut."""

from __future__ import annotations

from autoprune.search.feasible import proportioned
from autoprune.search.grid import AnyTrial
from autoprune.search.levels import FLOOR
from autoprune.search.problem import Problem
from autoprune.search.spaces.base import LEVEL, nearest_level, suggested_level
from autoprune.structure.plans import Widths


class OffsetSpace:
    """A share of the budget, and how far each group departs from a uniform cut, in percent.

    A good region is a neighbourhood of the uniform cut, which independent widths of many groups
    practically never hit; here it is where all offsets are small. What the plan costs is one parameter of
    its own, so that the sampler need not learn how widths add up to FLOPs. A block is there (1) or not (0).
    """

    STEP, REACH = 10, 60

    def __init__(self, problem: Problem, floor: float = FLOOR) -> None:
        self._problem = problem
        self._floor = floor

    def suggest(self, trial: AnyTrial) -> Widths:
        """The widest plan of these proportions within that share of the budget."""
        level = suggested_level(trial, self._floor)
        wanted = {name: self._wanted(trial, name) for name in self._problem.structure.widths}
        return proportioned(self._problem, wanted, level)

    def parameters(self, widths: Widths) -> dict[str, int | float]:
        """The nearest level and offsets; the result may differ from `widths` by rounding."""
        full = self._problem.structure.widths
        blocks = {name: widths[name] for name in full if name in self._problem.blocks}
        density = {name: widths[name] / width for name, width in full.items() if name not in blocks}
        mean = sum(density.values()) / max(len(density), 1)
        return {
            LEVEL: nearest_level(self._problem, widths, self._floor),
            **blocks,
            **{name: self._offset(100 * (share / mean - 1)) for name, share in density.items()},
        }

    def _wanted(self, trial: AnyTrial, name: str) -> float:
        if name in self._problem.blocks:
            return trial.suggest_int(name, 0, 1)
        percent = trial.suggest_int(name, -self.REACH, self.REACH, step=self.STEP)
        return self._problem.structure.widths[name] * (1 + percent / 100)

    def _offset(self, percent: float) -> int:
        return min(self.REACH, max(-self.REACH, self.STEP * round(percent / self.STEP)))
