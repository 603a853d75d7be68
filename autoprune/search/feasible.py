"""Widths that meet the closed-form part of the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autoprune.errors import BudgetError
from autoprune.search.problem import CLOSED_FORM, Problem
from autoprune.units import human_bytes, human_count

Widths = dict[str, int]

FLOOR = 0.3
"""Share of the FLOPs budget below which plans are not looked for: they are too poor to be of use."""


def excess(problem: Problem, widths: Mapping[str, int]) -> dict[str, float]:
    """Budget name -> how far the widths are over it, relative to the limit; 0 or less is within."""
    costs = problem.costs.costs(widths)
    return {
        what: getattr(costs, CLOSED_FORM[what]) / limit - 1
        for what, limit in problem.limits.items()
        if what in CLOSED_FORM
    }


def meets(problem: Problem, widths: Mapping[str, int]) -> bool:
    """Whether the widths are within every closed-form limit."""
    return all(over <= 0 for over in excess(problem, widths).values())


def fit(problem: Problem, widths: Mapping[str, int]) -> Widths:
    """The widths, scaled in proportion where their FLOPs are outside the range of interest.

    Over the budget they shrink until they meet it; far below it they grow. What the sampler says about
    how groups compare is kept, and no suggestion is wasted on a candidate that is known to be too
    expensive, or so cheap that the budget did not ask for it.
    """
    if not meets(problem, widths):
        shrunk = largest(lambda share: scaled(problem, widths, share), lambda ws: meets(problem, ws))
        return filled(problem, shrunk, widths, lambda ws: meets(problem, ws))
    floor = FLOOR * problem.most_flops
    if problem.costs.flops(widths) >= floor:
        return dict(widths)
    room = max(full / widths[name] for name, full in problem.structure.widths.items())
    return largest(
        lambda share: scaled(problem, widths, 1 + share * (room - 1)),
        lambda ws: meets(problem, ws) and problem.costs.flops(ws) <= floor,
    )


def filled(
    problem: Problem, widths: Widths, wanted: Mapping[str, float], accept: Callable[[Widths], bool]
) -> Widths:
    """One step more for each group that stays acceptable, those cut most below what was wanted first.

    Groups of one width change together when they are scaled, which can leave much of a budget unused.
    """
    widths = dict(widths)
    for name in sorted(widths, key=lambda group: widths[group] / wanted[group]):
        wider = {**widths, name: widths[name] + problem.steps[name]}
        if wider[name] <= problem.structure.widths[name] and accept(wider):
            widths = wider
    return widths


def scaled(problem: Problem, widths: Mapping[str, float], share: float) -> Widths:
    """Every width times `share`, on the grid of widths that are tried."""
    return {name: on_grid(problem, name, width * share) for name, width in widths.items()}


def on_grid(problem: Problem, name: str, width: float) -> int:
    """The nearest width of a group that is tried."""
    full, step = problem.structure.widths[name], problem.steps[name]
    return min(full, max(problem.min_widths[name], full - step * round((full - width) / step)))


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
    show = {"flops": human_count, "params": human_count, "size": human_bytes}
    least = problem.costs.costs(problem.min_widths)
    for what, over in excess(problem, problem.min_widths).items():
        if over > 0:
            amount = getattr(least, CLOSED_FORM[what])
            full = getattr(problem.baseline.costs, CLOSED_FORM[what])
            raise BudgetError(
                f"no plan meets {what}={show[what](problem.limits[what])}: the narrowest one needs "
                f"{show[what](amount)} ({amount / full:.1%}); raise the budget or lower --min-density"
            )
