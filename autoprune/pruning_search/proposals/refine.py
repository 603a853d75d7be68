"""Plans near the front whose groups, tied until then, depart from each other.

Of a deep network the sampler learns one coefficient for several groups that are alike. What sets these apart
is looked for around plans that are good already: one of three suggestions takes a plan of the front and moves
the coefficients of tied groups apart, while their mean and the plan's cost stay as they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.spaces import CriterionSpace, Space
from autoprune.structure.plans import Widths
from autoprune.study.attributes import ORIGIN, REFINED_FROM, SCALES, UNTRAINED, WIDTHS
from autoprune.study.explanation import coefficients
from autoprune.study.front import guided_front
from autoprune.study.origins import REFINED, SAMPLER
from autoprune.study.record import study_record

REACH = 1.5
"""A group's coefficient is divided or multiplied by this at most."""
DRAWS = 10
"""Departures of a plan that are drawn until one gives a plan that is not known."""
ROUNDING = 1e-9
"""Of a plan's share of the budget."""


@dataclass(frozen=True)
class Refinement:
    """A plan near one of the front.

    Attributes:
        parameters: where the sampler thinks of it: tied groups have one value there.
        distributions: of the parameters.
        attributes: the widths, the coefficient of every group, and the number of the plan that it is near.
    """

    parameters: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    attributes: dict[str, Any]


def refine(problem: Problem, study: optuna.Study, space: Space, seed: int) -> Refinement | None:
    """A plan near that of the front which has been refined least; None where it is not its turn.

    That is so when nothing waits, some groups are tied, and the sampler has had more suggestions.
    """
    if not isinstance(space, CriterionSpace) or not space.coupled:
        return None
    trials = study.get_trials(deepcopy=False)
    origins = [trial.user_attrs.get(ORIGIN) for trial in trials]
    waiting = any(trial.state is TrialState.WAITING for trial in trials)
    if waiting or origins.count(REFINED) >= origins.count(SAMPLER):
        return None
    parents = [trial for trial in guided_front(study) if trial.params and UNTRAINED not in trial.user_attrs]
    random = np.random.default_rng((seed, len(trials)))
    refined_before = Counter(trial.user_attrs.get(REFINED_FROM) for trial in trials)
    parents.sort(key=lambda trial: (refined_before[trial.number], random.random()))
    tried, record = [trial.user_attrs.get(WIDTHS) for trial in trials], study_record(study)
    for parent in parents:
        own: Widths = parent.user_attrs[WIDTHS]
        level = problem.budget_model.used(own) + ROUNDING
        scales, shifts = coefficients(record, parent)
        scales = scales or space.scales(own)
        for _ in range(DRAWS):
            departed = move_apart(scales, space.coupled, random)
            widths = space.widths(departed, shifts, level)
            if widths not in tried:
                attributes = {WIDTHS: widths, SCALES: departed, REFINED_FROM: parent.number}
                return Refinement(_parameters(space, parent, widths), parent.distributions, attributes)
    return None


def move_apart(
    scales: Mapping[str, float], coupled: Sequence[Sequence[str]], random: np.random.Generator
) -> dict[str, float]:
    """The coefficients, those of groups that are tied moved apart at random; their geometric mean stays."""
    moved = dict(scales)
    for groups in coupled:
        steps = random.uniform(-1.0, 1.0, len(groups))
        steps -= steps.mean()
        # Centred ones reach up to twice as far.
        steps *= math.log(REACH) / 2
        moved |= {name: scales[name] * math.exp(step) for name, step in zip(groups, steps, strict=True)}
    return moved


def _parameters(space: CriterionSpace, parent: FrozenTrial, widths: Widths) -> dict[str, Any]:
    """The parent's choices, and the coefficients of the space that come nearest to the widths."""
    nearest = space.parameters(widths)
    return {name: nearest.get(name, value) for name, value in parent.params.items()}
