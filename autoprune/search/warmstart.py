"""Plans that are tried before any sampling: no search may end below the one-shot methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from autoprune.criteria import Ranking
from autoprune.criteria.selection import ranked_widths
from autoprune.search.feasible import Widths, filled, fit, largest, meets, scaled
from autoprune.search.problem import Problem

LEVELS = (1.0, 0.75, 0.5, 0.35)
"""Shares of the budget at which each method is tried."""
DEPTHS, DEPTH_LEVELS = (0.01, 0.25, 0.5), (1.0, 0.5)
"""Shares of the blocks that are taken out (at least one), and of the budget that the rest may take."""


@dataclass(frozen=True)
class WarmStart:
    """Widths to try, and the method that they come from."""

    origin: str
    widths: Widths


def warm_starts(problem: Problem) -> list[WarmStart]:
    """The uncut model where it is affordable, then uniform and ranked cuts at several levels."""
    full = problem.structure.widths
    starts = [WarmStart("uncut", dict(full))] if problem.widest == full and meets(problem, full) else []
    methods: list[tuple[str, Callable[[float], Widths]]] = [
        ("uniform", lambda share: scaled(problem, full, share)),
        *(
            (f"global {name}", _global_cut(problem, ranking))
            for name, ranking in problem.rankings.items()
            if name != "random"
        ),
    ]
    for level in LEVELS:
        affordable = partial(meets, problem, level=level)
        for name, at in methods:
            widths = filled(problem, largest(at, affordable), full, affordable)
            starts.append(WarmStart(name, fit(problem, widths)))
    return _distinct(starts + _shallower(problem))


def _shallower(problem: Problem) -> list[WarmStart]:
    """Plans without the blocks that matter least, the rest cut evenly where the budget wants it."""
    order = problem.pruning.spare_blocks()
    starts = []
    for count in sorted({math.ceil(len(order) * share) for share in DEPTHS} - {0}):
        base = problem.structure.settled(problem.structure.widths | dict.fromkeys(order[:count], 0))
        for level in DEPTH_LEVELS:
            affordable = partial(meets, problem, level=level)
            widths = largest(partial(scaled, problem, base), affordable)
            starts.append(WarmStart(f"{count} block{'' if count == 1 else 's'} fewer", fit(problem, widths)))
    return [start for start in starts if meets(problem, start.widths)]


def _global_cut(problem: Problem, ranking: Ranking) -> Callable[[float], Widths]:
    """Share -> widths on the grid when about that share of all units stays, the best by one criterion."""
    counts = ranked_widths(ranking)

    def at(share: float) -> Widths:
        cut = {name: problem.grids[name].nearest(count) for name, count in counts(share).items()}
        return problem.structure.widths | cut

    return at


def _distinct(starts: list[WarmStart]) -> list[WarmStart]:
    seen: set[tuple[int, ...]] = set()
    kept = []
    for start in starts:
        key = tuple(start.widths.values())
        if key not in seen:
            seen.add(key)
            kept.append(start)
    return kept
