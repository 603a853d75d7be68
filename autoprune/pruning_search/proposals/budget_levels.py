"""The shares of the budget at which plans are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna

from autoprune.criteria.curve import Curve
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.allocation_costs import task_of
from autoprune.pruning_search.proposals.allocator import exact_plans
from autoprune.pruning_search.proposals.preview import is_previewed
from autoprune.pruning_search.proposals.sensitivity import SAMPLES, loss_of
from autoprune.study.attributes import BUDGET_LEVELS

LEVELS = tuple(2 ** (-step / 4) for step in range(7))
"""Those at which the allocator is tried: 100, 84, 71, 59, 50, 42 and 35 %."""
DEEPER = tuple(2 ** (-step / 4) for step in range(7, 9))
"""Further ones where previews make a first front, 30 and 25 %: there they take seconds."""
FLOOR = 0.3
"""Below this the sampler suggests nothing: plans are too poor to be of use, as a rule."""
STEP = 0.5
"""From one level to the next below the usual ones."""
LITTLE = 0.1
"""Rise of the loss, relative to the original's, up to which an untrained plan has lost next to nothing."""


def levels_of(problem: Problem, curves: Mapping[str, Curve]) -> tuple[float, ...]:
    """The usual levels, and lower ones as long as the cheapest has lost next to nothing yet.

    Where a model is much larger than its task needs, its best trade-offs may be at a few percent of what a
    budget allows. The plan that loses least at the lowest level is cut and compensated, not trained; while
    its loss on the samples of sensitivity curves is about the original model's, half of that level follows.
    """
    levels = [*LEVELS, *DEEPER] if is_previewed(problem) else [*LEVELS]
    task = task_of(problem.budget_model, curves)
    most = (1 + LITTLE) * loss_of(problem, problem.structure.widths, SAMPLES)
    least = problem.budget_model.used(problem.budget_model.narrowest)
    while STEP * levels[-1] > least:
        (plan,) = exact_plans(task, levels[-1:])
        if loss_of(problem, plan.widths, SAMPLES) > most:
            break
        levels.append(STEP * levels[-1])
    return tuple(levels)


def floor_of(levels: Sequence[float]) -> float:
    """The share of the budget below which the sampler suggests nothing."""
    return levels[-1] if levels[-1] < DEEPER[-1] else FLOOR


def recorded_floor(study: optuna.Study) -> float:
    """The same for a study whose levels are recorded, or are still the usual ones."""
    return floor_of(study.user_attrs.get(BUDGET_LEVELS, LEVELS))
