"""Plans that are tried before any sampling: no search may end below the one-shot methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoprune.criteria import Ranking
from autoprune.search.feasible import Widths, filled, fit, largest, meets, on_grid, scaled
from autoprune.search.problem import Problem

LEVELS = (1.0, 0.75, 0.5, 0.35)
"""Shares of the FLOPs budget at which each method is tried."""


@dataclass(frozen=True)
class WarmStart:
    """Widths to try, and the method that they come from."""

    origin: str
    widths: Widths


def warm_starts(problem: Problem) -> list[WarmStart]:
    """The uncut model where it is affordable, then uniform and ranked cuts at several FLOPs levels."""
    full = problem.structure.widths
    starts = [WarmStart("uncut", dict(full))] if meets(problem, full) else []
    methods: list[tuple[str, Callable[[float], Widths]]] = [
        ("uniform", lambda share: scaled(problem, full, share)),
        *(
            (f"global {name}", _global_cut(problem, ranking))
            for name, ranking in problem.rankings.items()
            if name != "random"
        ),
    ]
    for level in LEVELS:
        flops = level * problem.most_flops
        for name, at in methods:
            affordable = _within(problem, flops)
            widths = filled(problem, largest(at, affordable), full, affordable)
            starts.append(WarmStart(name, fit(problem, widths)))
    return _distinct(starts)


def _within(problem: Problem, flops: float) -> Callable[[Widths], bool]:
    return lambda widths: problem.costs.flops(widths) <= flops


def _global_cut(problem: Problem, ranking: Ranking) -> Callable[[float], Widths]:
    """Share -> widths when that share of all units stays, the best of the whole model by one criterion.

    Scores are divided by their group's mean, so that groups of different scale compare.
    """
    names = list(problem.structure.widths)
    scores = [ranking.scores[name].numpy() for name in names]
    relative = np.concatenate([score / max(score.mean(), np.finfo(float).tiny) for score in scores])
    owner = np.repeat(np.arange(len(names)), [len(score) for score in scores])
    order = owner[np.argsort(-relative, kind="stable")]

    def at(share: float) -> Widths:
        counts = np.bincount(order[: round(share * len(order))], minlength=len(names))
        return {name: on_grid(problem, name, int(count)) for name, count in zip(names, counts, strict=True)}

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
