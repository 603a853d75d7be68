"""Widths that meet what is known of the budget beforehand: closed forms, and predicted latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autoprune.errors import BudgetError
from autoprune.pruning_search.problem.budget_model import CLOSED_FORM, BudgetModel
from autoprune.pruning_search.problem.width_grid import AnyGrid
from autoprune.structure.plans import Widths
from autoprune.utils.quantities import human_bytes, human_count, human_seconds


def fit(budget: BudgetModel, widths: Mapping[str, int], floor: float) -> Widths:
    """The widths, scaled in proportion where their costs are not between `floor` and all of the budget.

    Over the budget they shrink until they meet it; far below it they grow. What the sampler says about
    how groups compare is kept, and no suggestion is wasted on a candidate that is known to be too
    expensive, or so cheap that the budget did not ask for it.
    """
    if not budget.meets(widths):
        shrunk = largest(lambda share: scale(budget, widths, share), lambda ws: budget.meets(ws))
        return fill(shrunk, widths, scalable_grids(budget), lambda ws: budget.meets(ws))
    if budget.used(widths) >= floor:
        return dict(widths)
    room = _room(budget, widths)
    return largest(
        lambda share: scale(budget, widths, 1 + share * (room - 1)),
        lambda ws: budget.meets(ws, floor),
    )


def fit_proportions(budget: BudgetModel, proportions: Mapping[str, float], level: float) -> Widths:
    """The widest plan with about these proportions that takes at most `level` of the budget."""

    def affordable(widths: Widths) -> bool:
        return budget.meets(widths, level)

    room = _room(budget, proportions)
    widths = largest(lambda share: scale(budget, proportions, share * room), affordable)
    return fill(widths, proportions, scalable_grids(budget), affordable)


def fill(
    widths: Widths,
    target: Mapping[str, float],
    grids: Mapping[str, AnyGrid],
    accept: Callable[[Widths], bool],
) -> Widths:
    """One step more on each grid that stays acceptable, groups cut most below what was wanted first.

    Groups of one width change together when they are scaled, which can leave much of a budget unused.
    """
    widths = dict(widths)
    for name in sorted(grids, key=lambda group: widths[group] / target[group]):
        wider = {**widths, name: grids[name].wider(widths[name])}
        if accept(wider):
            widths = wider
    return widths


def scale(budget: BudgetModel, widths: Mapping[str, float], share: float) -> Widths:
    """Every width times `share`, on the grid of widths that are tried; blocks stay or go as they did."""
    return {
        name: budget.grids[name].nearest(width if name in budget.blocks else width * share)
        for name, width in widths.items()
    }


def scalable_grids(budget: BudgetModel) -> dict[str, AnyGrid]:
    """The grids of groups whose widths can be scaled; blocks stay or go as they did."""
    return {name: grid for name, grid in budget.grids.items() if name not in budget.blocks}


def _room(budget: BudgetModel, widths: Mapping[str, float]) -> float:
    """How many times wider the group can become that has the most room."""
    widest = budget.widest
    return max((widest[n] / width for n, width in widths.items() if n not in budget.blocks), default=1.0)


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


def check_reachable(budget: BudgetModel) -> None:
    """Raise BudgetError when even the narrowest plan is over the budget."""
    show = dict.fromkeys(CLOSED_FORM, human_count) | {"size": human_bytes}
    least = budget.pruning.costs.costs(budget.narrowest)
    for what, over in budget.excess(budget.narrowest).items():
        if over > 0:
            amount = getattr(least, CLOSED_FORM[what])
            full = getattr(budget.original_costs, CLOSED_FORM[what])
            raise BudgetError(
                f"no plan meets {what}={show[what](budget.limits[what])}: the narrowest one needs "
                f"{show[what](amount)} ({amount / full:.1%}); raise the budget or lower --min-density"
            )


def out_of_reach(budget: BudgetModel) -> str:
    """What to say where no plan is predicted to meet the limit on latency."""
    least, original = budget.least_latency, budget.original_latency
    assert least is not None
    assert original is not None
    return (
        f"no plan is predicted to meet latency={human_seconds(budget.limits['latency'])}: the narrowest one "
        f"takes {human_seconds(least)} ({least / original:.0%}); it is tried first, for what is measured "
        "decides"
    )
