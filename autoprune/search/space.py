"""How a trial's parameters become widths."""

from __future__ import annotations

from typing import Protocol

import optuna

from autoprune.search.feasible import Widths, fit, on_grid
from autoprune.search.problem import Problem

FEW_GROUPS = 20
"""Up to here a parameter a group is searched well by a Gaussian process."""


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
        least, full, steps = self._problem.min_widths, self._problem.structure.widths, self._problem.steps
        widths = {n: trial.suggest_int(n, least[n], full[n], step=steps[n]) for n in full}
        return fit(self._problem, widths)

    def parameters(self, widths: Widths) -> dict[str, int]:
        """The widths themselves."""
        return dict(widths)


class OffsetSpace:
    """One density for all groups, and how far each group departs from it, in percent of its units.

    A good region is a neighbourhood of the uniform cut, which independent widths of many groups
    practically never hit; here it is where all offsets are small.
    """

    REACH = 40
    STEP = 2
    DENSITY = "density %"

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def suggest(self, trial: optuna.Trial) -> Widths:
        """Density plus offset of every group, scaled like suggested widths."""
        full = self._problem.structure.widths
        density = trial.suggest_int(self.DENSITY, self.STEP, 100, step=self.STEP)
        widths = {}
        for name, width in full.items():
            percent = density + trial.suggest_int(name, -self.REACH, self.REACH, step=self.STEP)
            widths[name] = on_grid(self._problem, name, width * percent / 100)
        return fit(self._problem, widths)

    def parameters(self, widths: Widths) -> dict[str, int]:
        """The nearest density and offsets; the result may differ from `widths` by rounding."""
        full = self._problem.structure.widths
        shares = {name: 100 * widths[name] / width for name, width in full.items()}
        density = self._step(sum(shares.values()) / len(shares), self.STEP, 100)
        offsets = {n: self._step(share - density, -self.REACH, self.REACH) for n, share in shares.items()}
        return {self.DENSITY: density, **offsets}

    def _step(self, value: float, low: int, high: int) -> int:
        return min(high, max(low, self.STEP * round(value / self.STEP)))


def make_space(problem: Problem) -> Space:
    """Plain widths for few groups, the offset form for many."""
    return WidthSpace(problem) if len(problem.structure.groups) <= FEW_GROUPS else OffsetSpace(problem)
