"""Coefficients of a cost-aware criterion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.width_grid import AnyTrial
from autoprune.pruning_search.proposals.allocation_costs import task_of
from autoprune.pruning_search.proposals.allocator import Curve, Greedy
from autoprune.pruning_search.proposals.budget_levels import FLOOR
from autoprune.pruning_search.proposals.spaces.base import LEVEL
from autoprune.pruning_search.proposals.spaces.coupled_groups import coupled_groups
from autoprune.structure.plans import Widths
from autoprune.study.explanation import SHIFT

TINY = 1e-12
"""Least cost and loss of a step, so that both have a logarithm."""
EDGE = math.log(2)
"""Logarithm of how far beyond."""


class CriterionSpace:
    """A share of the budget, and a coefficient by which the sensitivity of each group is multiplied.

    The greedy allocator turns them into the plan that loses least by the weighted curves, so that every trial
    meets the budget, and a point with all coefficients at 1 is a good plan already. The curves say what
    each group loses by itself in a uniform cut; what the coefficients learn is what departures from it lose
    together, and what recovery brings back. The idea is that of Chin et al., "Towards Efficient Model
    Compression via Learned Global Ranking" (2020), and of Frantar and Alistarh, "SPDY" (2022). Where the
    settings say so, groups also have a shift: see :func:`autoprune.criteria.curve.weighted`.
    """

    REACH = 2.0
    """A coefficient lies between its inverse and this: far from 1, plans are poor and trials wasted."""
    MOST_SHIFT = 0.5
    """Relative to the median group's largest loss."""

    def __init__(self, problem: Problem, curves: Mapping[str, Curve], floor: float = FLOOR) -> None:
        self._problem = problem
        self._lowest = max(1, round(100 * floor))
        self._task = task_of(problem.budget_model, curves)
        self._coupled = coupled_groups(problem.structure.groups)
        self.coupled = [groups for groups in self._coupled.values() if len(groups) > 1]
        self._affine = problem.config.coefficients == "affine"

    def suggest(self, trial: AnyTrial) -> Widths:
        """The greedy plan for these coefficients within that share of the budget."""
        level = trial.suggest_int(LEVEL, self._lowest, 100, log=True) / 100
        for parameter in self._coupled:
            trial.suggest_float(parameter, 1 / self.REACH, self.REACH, log=True)
            if self._affine:
                trial.suggest_float(f"{SHIFT} {parameter}", 0.0, self.MOST_SHIFT)
        return self.widths(*self.coefficients(trial.params), level)

    def widths(self, scales: Mapping[str, float], shifts: Mapping[str, float], level: float) -> Widths:
        """The greedy plan for a scale and a shift of every group within that share of the budget."""
        return Greedy(self._task.weighted(scales, shifts)).at(level).widths

    def coefficients(self, parameters: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """Scale and shift of every group, from the parameters of a trial."""
        scales: dict[str, float] = {}
        shifts: dict[str, float] = {}
        for parameter, groups in self._coupled.items():
            scales |= dict.fromkeys(groups, float(parameters[parameter]))
            shifts |= dict.fromkeys(groups, float(parameters.get(f"{SHIFT} {parameter}", 0.0)))
        return scales, shifts

    def parameters(self, widths: Widths) -> dict[str, int | float]:
        """The nearest level, and the scales at which the widths are where greedy steps would stop; no shifts.

        At such a plan the weighted loss for cost is the same for the next step of every group. Coefficients
        only matter relative to each other: their geometric mean is 1.
        """
        logarithms = self._logarithms(widths)
        coupled = {
            name: self._clamp(float(np.mean([logarithms[group] for group in groups])))
            for name, groups in self._coupled.items()
        }
        shifts = {f"{SHIFT} {name}": 0.0 for name in self._coupled} if self._affine else {}
        level = min(100, max(self._lowest, round(100 * self._problem.budget_model.used(widths))))
        return {LEVEL: level, **coupled, **shifts}

    def scales(self, widths: Widths) -> dict[str, float]:
        """The same of every group by itself."""
        return {name: self._clamp(value) for name, value in self._logarithms(widths).items()}

    def _clamp(self, logarithm: float) -> float:
        edge = math.log(self.REACH)
        return math.exp(min(edge, max(-edge, logarithm)))

    def _logarithms(self, widths: Widths) -> dict[str, float]:
        """Group -> logarithm of its marginal cost for its marginal loss, between the steps down and up.

        Relative to their mean.
        """
        task = self._task
        at = task.position(widths)
        own = task.spent(at[None])[0]
        logarithms = {}
        for column, name in enumerate(task.curves):
            ratios = {}
            for step in (-1, 1):
                other = at.copy()
                other[column] += step
                if 0 <= other[column] <= task.widest[column]:
                    loss = task.drops[column][min(at[column], other[column])]
                    cost = abs(task.spent(other[None])[0] - own)
                    ratios[step] = math.log(max(cost, TINY)) - math.log(max(loss, TINY))
            # At the end of a curve the coefficient is beyond the one at which the last step is taken.
            beyond = EDGE * ((1 not in ratios) - (-1 not in ratios))
            logarithms[name] = float(np.mean(list(ratios.values()))) + beyond if ratios else 0.0
        mean = float(np.mean(list(logarithms.values()))) if logarithms else 0.0
        return {name: value - mean for name, value in logarithms.items()}
