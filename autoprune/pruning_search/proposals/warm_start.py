"""Plans that are tried before any sampling: no search may end below the one-shot methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from autoprune.criteria import Ranking
from autoprune.criteria.learned import LearnedCriterion
from autoprune.criteria.selection import ranked_widths
from autoprune.pruning_search.problem.budget_fit import fill, fit, largest, scalable_grids, scale
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.allocation_costs import task_of
from autoprune.pruning_search.proposals.allocator import Curve, Greedy, exact_plans
from autoprune.pruning_search.proposals.budget_levels import floor_of
from autoprune.pruning_search.proposals.preview import is_previewed
from autoprune.structure.plans import Widths
from autoprune.study.origins import EXACT, GREEDY, PREVIEW

FEW_LEVELS = (1.0, 0.5)
"""Those at which every other method is, so that short searches too have trials left for sampling."""
DEPTHS, DEPTH_LEVELS = (0.01, 0.25, 0.5), (1.0, 0.5)
"""Shares of the blocks that are taken out (at least one), and of the budget that the rest may take."""
GLOBAL = "global "
"""Begins the origins of global rankings by a criterion."""
NARROWEST = "narrowest"
"""Origin of the plan that is tried first where no plan is predicted to be fast enough."""
LEARNED = "learned before"
"""Origin of plans by a criterion that another search learned."""


@dataclass(frozen=True)
class WarmStart:
    """Widths to try, and the method that they come from.

    Attributes:
        origin: name of the method.
        widths: group -> units.
        criterion: what orders the units, where trials choose that; empty for the configured one.
        trained: false for a preview of the plan.
    """

    origin: str
    widths: Widths
    criterion: str = ""
    trained: bool = True


def warm_starts(
    problem: Problem,
    curves: Mapping[str, Curve],
    levels: Sequence[float],
    learned: LearnedCriterion | None = None,
) -> list[WarmStart]:
    """The original model where it is affordable, then the plans of every one-shot method at these levels.

    Those that lose least by the sensitivity curves come first, being the best as a rule, one at each level so
    that a search which ends early has a whole front; before them those by what another search learned. Where
    trials choose a criterion, each is tried.
    """
    full, floor = problem.structure.widths, floor_of(levels)
    starts = [WarmStart("original", dict(full))] if _original_is_affordable(problem.budget_model) else []
    if problem.budget_model.is_out_of_reach:
        starts.append(WarmStart(NARROWEST, problem.budget_model.narrowest))
    methods: list[tuple[str, Callable[[float], Widths]]] = [
        ("uniform", lambda share: scale(problem.budget_model, full, share)),
        *(
            (f"{GLOBAL}{name}", _global_cut(problem, ranking))
            for name, ranking in problem.pruning.rankings.items()
            if name != "random"
        ),
    ]
    allocated = _allocate(problem, curves, levels)
    if learned is not None:
        learned_greedy = Greedy(
            replace(task_of(problem.budget_model, curves), curves=learned.weighted(curves))
        )
        for level in levels:
            allocated[level].insert(0, WarmStart(LEARNED, learned_greedy.at(level).widths))
    starts += [allocated[level][0] for level in _order(problem, levels)]
    for level in levels:
        starts += allocated[level]
        affordable = partial(problem.budget_model.meets, level=level)
        for name, at in methods if level in FEW_LEVELS else []:
            widths = fill(largest(at, affordable), full, scalable_grids(problem.budget_model), affordable)
            starts.append(
                WarmStart(name, fit(problem.budget_model, widths, floor), _own_criterion(problem, name))
            )
        if level in FEW_LEVELS:
            starts += _by_other_criteria(problem, allocated[level][0])
    return _deduplicate(starts + _shallower(problem, floor))


def previews(problem: Problem, curves: Mapping[str, Curve], levels: Sequence[float]) -> list[WarmStart]:
    """The plans that lose least by the sensitivity curves, one a level, to be scored without training.

    Behind them the cheapest one to be trained: there training adds most, and need not wait for finer curves.
    """
    plans = dict(zip(levels, exact_plans(task_of(problem.budget_model, curves), levels), strict=True))
    # The cheap end before all: alone, it makes most of a front.
    order = _ends_first(levels[::-1])
    shown = [WarmStart(EXACT + PREVIEW, plans[level].widths, trained=False) for level in order]
    return [*_deduplicate(shown), WarmStart(EXACT, plans[order[0]].widths)]


def _order(problem: Problem, levels: Sequence[float]) -> list[float]:
    """Levels in the order in which their best plans are trained."""
    if not is_previewed(problem):
        return _ends_first(levels)
    # The cheap end of a front that is there already has been trained once, by coarser curves.
    cheapest, *others = _ends_first(levels[::-1])
    return [*others, cheapest]


def _ends_first(levels: Sequence[float]) -> list[float]:
    """Levels by what they add to a front: its ends first, then again and again what is midway between."""
    gaps = [(0, len(levels) - 1)]
    order = list(gaps[0])
    for low, high in gaps:
        middle = (low + high) // 2
        if middle > low:
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [levels[place] for place in order]


def _original_is_affordable(budget: BudgetModel) -> bool:
    full, latency = budget.pruning.structure.widths, budget.original_latency
    slow = latency is not None and latency > budget.limits.get("latency", math.inf)
    return budget.widest == full and not slow and budget.meets(full)


def _own_criterion(problem: Problem, origin: str) -> str:
    """The criterion of a global ranking, where trials may choose it."""
    name = origin.removeprefix(GLOBAL)
    return name if problem.mixing is not None and name in problem.mixing.criteria else ""


def _by_other_criteria(problem: Problem, start: WarmStart) -> list[WarmStart]:
    """The same widths with each of the criteria that trials may choose beside the configured one."""
    others = () if problem.mixing is None else problem.mixing.criteria[1:]
    return [replace(start, origin=f"{start.origin}, {name}", criterion=name) for name in others]


def _allocate(
    problem: Problem, curves: Mapping[str, Curve], levels: Sequence[float]
) -> dict[float, list[WarmStart]]:
    """Level -> the plans that lose least by the sensitivity curves."""
    task = task_of(problem.budget_model, curves)
    starts = {
        level: [WarmStart(EXACT, best.widths)]
        for level, best in zip(levels, exact_plans(task, levels), strict=True)
    }
    greedy = Greedy(task)
    for level in FEW_LEVELS:
        starts[level].append(WarmStart(GREEDY, greedy.at(level).widths))
    return starts


def _shallower(problem: Problem, floor: float) -> list[WarmStart]:
    """Plans without the blocks that matter least, the rest cut evenly where the budget wants it."""
    order = problem.pruning.spare_blocks()
    starts = []
    for count in sorted({math.ceil(len(order) * share) for share in DEPTHS} - {0}):
        base = problem.structure.canonical(problem.structure.widths | dict.fromkeys(order[:count], 0))
        for level in DEPTH_LEVELS:
            affordable = partial(problem.budget_model.meets, level=level)
            widths = largest(partial(scale, problem.budget_model, base), affordable)
            name = f"{count} block{'' if count == 1 else 's'} fewer"
            starts.append(WarmStart(name, fit(problem.budget_model, widths, floor)))
    return [start for start in starts if problem.budget_model.meets(start.widths)]


def _global_cut(problem: Problem, ranking: Ranking) -> Callable[[float], Widths]:
    """Share -> widths on the grid when about that share of all units stays, the best by one criterion."""
    counts = ranked_widths(ranking)

    def at(share: float) -> Widths:
        cut = {name: problem.budget_model.grids[name].nearest(count) for name, count in counts(share).items()}
        return problem.structure.widths | cut

    return at


def _deduplicate(starts: list[WarmStart]) -> list[WarmStart]:
    seen: set[tuple[object, ...]] = set()
    kept = []
    for start in starts:
        key = (start.criterion, start.trained, *sorted(start.widths.items()))
        if key not in seen:
            seen.add(key)
            kept.append(start)
    return kept
