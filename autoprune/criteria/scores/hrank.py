"""Rank of feature maps: Lin et al., "HRank: Filter Pruning using High-Rank Feature Map" (2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.observation import Observation
from autoprune.criteria.registry import register
from autoprune.criteria.scores.activations import observe
from autoprune.criteria.unit_activations import Key


@register("hrank")
def score(context: Context) -> dict[str, Tensor]:
    """Mean rank of a unit's feature map over the samples, and over all that read it.

    The map of a channel is its image; where a unit has several channels, the mean of their ranks. Elsewhere
    it is the matrix of the unit's entries by the positions: of a head, its width by the tokens. A unit of a
    single entry or position has rank 1 where it is not zero. Raises CriterionError without data.
    """
    sums: dict[Key, Tensor] = {}
    counts: dict[Key, int] = {}

    def see(seen: Observation) -> None:
        ranks = _ranks(seen)
        key = seen.read.key
        sums[key] = sums.get(key, 0) + ranks.sum(dim=0, dtype=torch.float64).cpu()
        counts[key] = counts.get(key, 0) + len(ranks)

    observe(context, "hrank", see)
    return {
        group.name: torch.stack([sums[key] / counts[key] for key in sums if key[-1] == group.name]).mean(
            dim=0
        )
        for group in context.structure.groups
    }


def _ranks(seen: Observation) -> Tensor:
    """``[samples, width]``."""
    units = seen.units().float()
    if seen.read.maps:
        return _rank(units).flatten(2).mean(dim=2)
    matrices = units.flatten(3) if units.dim() > 3 else units.unsqueeze(3)
    if 1 in matrices.shape[2:]:
        return (matrices != 0).flatten(2).any(dim=2).double()
    return _rank(matrices)


def _rank(matrices: Tensor) -> Tensor:
    ranks: Tensor = torch.linalg.matrix_rank(matrices)
    return ranks.double()
