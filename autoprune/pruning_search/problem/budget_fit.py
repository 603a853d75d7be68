"""Widths that meet what is known of the budget beforehand: closed forms, and predicted latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autoprune.errors import BudgetError
from autoprune.pruning_search.problem.problem import CLOSED_FORM, Problem
from autoprune.pruning_search.problem.width_grid import AnyGrid
from autoprune.structure.plans import Widths
from autoprune.utils.quantities import human_bytes, human_count, human_seconds


def excess(problem: Problem, widths: Mapping[str, int]) -> dict[str, float]:
    """Budget name -> how far the widths are over it, relative to the limit; 0 or less is within."""
    return {what: share - 1 for what, share in problem.counted_shares(widths).items()}


def meets(problem: Problem, widths: Mapping[str, int], level: float = 1.0) -> bool:
    """Whether the widths are within that share of every limit, by closed forms and by prediction."""
    return used(problem, widths) <= level


def used(problem: Problem, widths: Mapping[str, int]) -> float:
    """The share of the tightest limit that the widths take; without one, of what trials lower.

    Where the original model meets all limits, the share of what it takes.
    """
    shares = problem.shares(widths)
    if not shares:
        lowered, costs = problem.pruning.cost, problem.costs.costs(widths)
        return float(getattr(costs, lowered) / getattr(problem.baseline.costs, lowered))
    return max(shares) / problem.original_share


def fit(problem: Problem, widths: Mapping[str, int], floor: float) -> Widths:
    """The widths, scaled in proportion where their costs are not between `floor` and all of the budget.

    Over the budget they shrink until they meet it; far below it they grow. What the sampler says about
    how groups compare is kept, and no suggestion is wasted on a candidate that is known to be too
    expensive, or so cheap that the budget did not ask for it.
    """
    if not meets(problem, widths):
        shrunk = largest(lambda share: scaled(problem, widths, share), lambda ws: meets(problem, ws))
        return filled(shrunk, widths, scalable(problem), lambda ws: meets(problem, ws))
    if used(problem, widths) >= floor:
        return dict(widths)
    room = _room(problem, widths)
    return largest(
        lambda share: scaled(problem, widths, 1 + share * (room - 1)),
        lambda ws: meets(problem, ws, floor),
    )


def proportioned(problem: Problem, wanted: Mapping[str, float], level: float) -> Widths:
    """The widest plan with about these proportions that takes at most `level` of the budget."""

    def affordable(widths: Widths) -> bool:
        return meets(problem, widths, level)

    room = _room(problem, wanted)
    widths = largest(lambda share: scaled(problem, wanted, share * room), affordable)
    return filled(widths, wanted, scalable(problem), affordable)


def filled(
    widths: Widths,
    wanted: Mapping[str, float],
    grids: Mapping[str, AnyGrid],
    accept: Callable[[Widths], bool],
) -> Widths:
    """One step more on each grid that stays acceptable, groups cut most below what was wanted first.

    Groups of one width change together when they are scaled, which can leave much of a budget unused.
    """
    widths = dict(widths)
    for name in sorted(grids, key=lambda group: widths[group] / wanted[group]):
        wider = {**widths, name: grids[name].wider(widths[name])}
        if accept(wider):
            widths = wider
    return widths


def scaled(problem: Problem, widths: Mapping[str, float], share: float) -> Widths:
    """Every width times `share`, on the grid of widths that are tried; blocks stay or go as they did."""
    return {
        name: problem.grids[name].nearest(width if name in problem.blocks else width * share)
        for name, width in widths.items()
    }


def scalable(problem: Problem) -> dict[str, AnyGrid]:
    """The grids of groups whose widths can be scaled; blocks stay or go as they did."""
    return {name: grid for name, grid in problem.grids.items() if name not in problem.blocks}


def _room(problem: Problem, widths: Mapping[str, float]) -> float:
    """How many times wider the group can become that has the most room."""
    widest = problem.widest
    return max((widest[n] / width for n, width in widths.items() if n not in problem.blocks), default=1.0)


def largest(at: Callable[[float], Widths], accept: Callable[[Widths], bool]) -> Widths:
    """Widths ``at(share)`` for the largest share in [0, 1] that is accepted; costs must grow with it."""
    low, high = 0.0, 1.0
    best = at(low)
    for _ in range(40):
        middle = (low + high) / 2
        candidate = at(middle)
        if accept(candidate):
            low, best = middle, candidate
        else:
            high = middle
    return best


def check_reachable(problem: Problem) -> None:
    """Raise BudgetError when even the narrowest plan is over the budget."""
    show = dict.fromkeys(CLOSED_FORM, human_count) | {"size": human_bytes}
    least = problem.costs.costs(problem.narrowest)
    for what, over in excess(problem, problem.narrowest).items():
        if over > 0:
            amount = getattr(least, CLOSED_FORM[what])
            full = getattr(problem.baseline.costs, CLOSED_FORM[what])
            raise BudgetError(
                f"no plan meets {what}={show[what](problem.limits[what])}: the narrowest one needs "
                f"{show[what](amount)} ({amount / full:.1%}); raise the budget or lower --min-density"
            )


def out_of_reach(problem: Problem) -> str:
    """What to say where no plan is predicted to meet the limit on latency."""
    least, original = problem.least_latency, problem.baseline.latency
    assert least is not None
    assert original is not None
    return (
        f"no plan is predicted to meet latency={human_seconds(problem.limits['latency'])}: the narrowest one "
        f"takes {human_seconds(least)} ({least / original:.0%}); it is tried first, for what is measured "
        "decides"
    )
