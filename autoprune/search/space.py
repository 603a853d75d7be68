"""How a trial's parameters become widths."""

from __future__ import annotations

from typing import Protocol

import optuna

from autoprune.search.feasible import FLOOR, Widths, fit, proportioned, used
from autoprune.search.problem import Problem


class Space(Protocol):
    """A parametrisation of the widths of all groups."""

    def suggest(self, trial: optuna.Trial) -> Widths:
        """Ask the trial for parameters and turn them into widths."""

    def parameters(self, widths: Widths) -> dict[str, int]:
        """Parameters that give (about) these widths, for a trial that is enqueued."""


class WidthSpace:
    """One integer width a group."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, trial: optuna.Trial) -> Widths:
        """Suggested widths, scaled in proportion where they are over the budget or far below it."""
        grids = self._problem.grids
        widths = {name: grid.suggest(trial, name) for name, grid in grids.items()}
        return fit(self._problem, widths)

    def parameters(self, widths: Widths) -> dict[str, int]:
        """As each group's grid has them: the widths themselves, or their positions on irregular grids."""
        grids = self._problem.grids
        return {name: grids[name].parameter(width) for name, width in widths.items()}


class OffsetSpace:
    """A share of the budget, and how far each group departs from a uniform cut, in percent.

    A good region is a neighbourhood of the uniform cut, which independent widths of many groups
    practically never hit; here it is where all offsets are small. What the plan costs is one parameter of
    its own, so that the sampler need not learn how widths add up to FLOPs. A block is there (1) or not (0).
    """

    LEVEL = "level %"
    LEVEL_STEP, STEP, REACH = 5, 10, 60

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, trial: optuna.Trial) -> Widths:
        """The widest plan of these proportions within that share of the budget."""
        level = trial.suggest_int(self.LEVEL, round(100 * FLOOR), 100, step=self.LEVEL_STEP)
        wanted = {name: self._wanted(trial, name) for name in self._problem.structure.widths}
        return proportioned(self._problem, wanted, level / 100)

    def parameters(self, widths: Widths) -> dict[str, int]:
        """The nearest level and offsets; the result may differ from `widths` by rounding."""
        full = self._problem.structure.widths
        blocks = {name: widths[name] for name in full if name in self._problem.blocks}
        density = {name: widths[name] / width for name, width in full.items() if name not in blocks}
        mean = sum(density.values()) / max(len(density), 1)
        level = 100 * used(self._problem, widths)
        nearest = min(100, max(round(100 * FLOOR), self.LEVEL_STEP * round(level / self.LEVEL_STEP)))
        return {
            self.LEVEL: nearest,
            **blocks,
            **{name: self._offset(100 * (share / mean - 1)) for name, share in density.items()},
        }

    def _wanted(self, trial: optuna.Trial, name: str) -> float:
        if name in self._problem.blocks:
            return trial.suggest_int(name, 0, 1)
        percent = trial.suggest_int(name, -self.REACH, self.REACH, step=self.STEP)
        return self._problem.structure.widths[name] * (1 + percent / 100)

    def _offset(self, percent: float) -> int:
        return min(self.REACH, max(-self.REACH, self.STEP * round(percent / self.STEP)))


def make_space(problem: Problem) -> Space:
    """The configured space."""
    return WidthSpace(problem) if problem.config.space == "sparsity" else OffsetSpace(problem)
