"""Plans between two neighbours on the front, where it has its widest gap.

Hypervolume draws a sampler to the cheap end of a front, where each step is worth most; what lies between the
known plans then stays as coarse as the warm starts. Half of the suggestions therefore go where two
neighbours are farthest apart in cost, relative to it, and rather between good ones than between poor ones:
there is a plan near every budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.spaces.base import LEVEL, Space
from autoprune.study.attributes import ORIGIN, WIDTHS
from autoprune.study.front import feasible_trials
from autoprune.study.origins import GAP, SAMPLER
from autoprune.study.states import state_of

DRAWS = 10
"""Plans that are drawn for a gap until one is not known."""


@dataclass(frozen=True)
class FrontPoint:
    """An evaluated plan: the share of the budget that it takes, and its loss."""

    share: float
    loss: float
    trial: FrozenTrial


def fill_gap(
    problem: Problem, study: optuna.Study, space: Space, seed: int
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """Parameters and their ranges of a new plan for the front's widest gap that has one.

    Every parameter lies at random between those of the two neighbours (a blend crossover: Eshelman and
    Schaffer, "Real-Coded Genetic Algorithms and Interval-Schemata", 1993), and their share of the budget half
    way. Gaps have their turn when nothing waits and the sampler has had no fewer; None where it is not
    theirs, or all that is drawn is known.
    """
    trials = study.get_trials(deepcopy=False)
    origins = [trial.user_attrs.get(ORIGIN) for trial in trials]
    waiting = any(trial.state is TrialState.WAITING for trial in trials)
    if waiting or not problem.config.gaps or origins.count(GAP) > origins.count(SAMPLER):
        return None
    tried = [trial.user_attrs.get(WIDTHS) for trial in trials]
    random = np.random.default_rng((seed, len(trials)))
    for cheap, dear in widest_gaps(_points(problem, study)):
        for _ in range(DRAWS):
            parameters = blend(cheap.trial, dear.trial, random)
            widths = space.suggest(FixedTrial(parameters))
            if problem.structure.canonical(widths) not in tried:
                return parameters, {name: cheap.trial.distributions[name] for name in parameters}
    return None


def widest_gaps(points: Sequence[FrontPoint]) -> list[tuple[FrontPoint, FrontPoint]]:
    """Neighbours on the front, cheaper one first; first those that differ most in cost, relative to it.

    A gap counts less the more plans in it have been tried in vain, and the more the cheaper neighbour has
    lost, down to a half at the front's cheap end.
    """
    front: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point.share, point.loss)):
        if not front or point.loss < front[-1].loss:
            front.append(point)

    def worth(gap: tuple[FrontPoint, FrontPoint]) -> float:
        low, high = gap
        tried = sum(low.share < point.share < high.share for point in points)
        lost = (low.loss - front[-1].loss) / (front[0].loss - front[-1].loss)
        return math.log(high.share / low.share) * (1 - lost / 2) / (1 + tried)

    return sorted(pairwise(front), key=worth, reverse=True)


def blend(low: FrozenTrial, high: FrozenTrial, random: np.random.Generator) -> dict[str, Any]:
    """Parameters between those of two trials; of choices, one of the two."""
    return {
        name: _between(
            distribution, low.params[name], high.params[name], 0.5 if name == LEVEL else random.uniform()
        )
        for name, distribution in low.distributions.items()
        if name in high.params
    }


def _between(distribution: BaseDistribution, low: Any, high: Any, place: float) -> Any:
    """What lies at that place between two values of a parameter."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return low if place < 0.5 else high
    mean = low ** (1 - place) * high**place if distribution.log else (1 - place) * low + place * high
    if isinstance(distribution, FloatDistribution):
        return min(max(float(mean), distribution.low), distribution.high)  # not outside by rounding
    return distribution.low + distribution.step * round((mean - distribution.low) / distribution.step)


def _points(problem: Problem, study: optuna.Study) -> list[FrontPoint]:
    """The plans that were evaluated in full within the budget; each once."""
    sign = -1.0 if problem.data.task.higher_is_better else 1.0
    return [
        FrontPoint(problem.budget_model.used(trial.user_attrs[WIDTHS]), sign * trial.values[0], trial)
        for trial in feasible_trials(study)
        if trial.params and state_of(trial) == "COMPLETE"
    ]
