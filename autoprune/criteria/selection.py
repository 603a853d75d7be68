"""How many units of each group stay, read off one criterion's scores without a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from autoprune.criteria.ranking import Ranking, relative_to_mean
from autoprune.structure import Plan, Structure
from autoprune.structure.plans import Widths

Scope = Literal["local", "global"]
"""Whether units compete within their group only, or across the whole model."""


def relative_scores(ranking: Ranking) -> dict[str, NDArray[np.float64]]:
    """Scores divided by their group's mean size, so that groups of different scale compare."""
    return {name: relative_to_mean(scores).numpy() for name, scores in ranking.scores.items()}


def comparable_scores(ranking: Ranking) -> dict[str, NDArray[np.float64]]:
    """Scores that compare across groups."""
    if ranking.relative:
        return relative_scores(ranking)
    return {name: scores.numpy() for name, scores in ranking.scores.items()}


def ranked_widths(ranking: Ranking) -> Callable[[float], Widths]:
    """Share -> widths when that share of all units stays, the best of the whole model.

    A group may come out with no unit at all.
    """
    comparable = comparable_scores(ranking)
    names = list(comparable)
    owner = np.repeat(np.arange(len(names)), [len(scores) for scores in comparable.values()])
    # With nothing but blocks to cut there is nothing to rank.
    scores = np.concatenate([np.empty(0), *comparable.values()])
    order = owner[np.argsort(-scores, kind="stable")]

    def at(share: float) -> Widths:
        counts = np.bincount(order[: round(share * len(order))], minlength=len(names))
        return dict(zip(names, counts.tolist(), strict=True))

    return at


def plan_of(
    ranking: Ranking, widths: Mapping[str, int], structure: Structure, *, model: str = "", weights: str = ""
) -> Plan:
    """The plan that keeps the highest-ranked units of every group, and the blocks whose width is not 0.

    Neither a group of full width nor one within a removed block is named in it.
    """
    full, canonical = structure.widths, structure.canonical(widths)
    keep = {
        name: () if name in structure.blocks else ranking.keep(name, width)
        for name, width in canonical.items()
        if width < full[name]
    }
    return Plan.of(structure, keep, model=model, weights=weights)


def widths_at_sparsity(ranking: Ranking, sparsity: float, scope: Scope) -> Widths:
    """Widths after that share of the units of every group, or of the whole model, is removed."""
    if scope == "global":
        return ranked_widths(ranking)(1 - sparsity)
    return {name: len(scores) - round(sparsity * len(scores)) for name, scores in ranking.scores.items()}


def widths_above(ranking: Ranking, threshold: float, scope: Scope) -> Widths:
    """Widths when the units with a score below the threshold are removed.

    A score is taken relative to the mean of its group (``local``) or of all units (``global``).
    """
    if scope == "local":
        relative = relative_scores(ranking)
    else:
        every = relative_to_mean(torch.cat(list(ranking.scores.values())))
        widths = [len(scores) for scores in ranking.scores.values()]
        relative = dict(
            zip(ranking.scores, (part.numpy() for part in torch.split(every, widths)), strict=True)
        )
    return {name: int((scores >= threshold).sum()) for name, scores in relative.items()}
