"""Several criteria that rank together: one chosen for each group, or all with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.criteria.ranking import Ranking

SPARSIFIED = "sparsified"
"""Name, among the criteria of a mixture, of what sparse training found."""


@dataclass(frozen=True)
class Mixture:
    """How much each criterion counts for the order of the units of each group.

    Scores of different criteria have nothing in common but their order, so that what is averaged is each
    unit's place in it. With one criterion the order is that of its scores, whichever criterion it is; a
    choice by group is the idea of He et al., "Learning Filter Pruning Criteria for Deep Convolutional Neural
    Networks Acceleration" (LFPC, 2020).

    Attributes:
        weights: group -> criterion -> weight, none below 0 and at least one above.
    """

    weights: Mapping[str, Mapping[str, float]]

    def ranking(self, rankings: Mapping[str, Ranking]) -> Ranking:
        """The common ranking of these groups, from the ranking of every criterion."""
        return Ranking(
            "mixture",
            {
                group: self.places(group, {name: rankings[name].scores[group] for name in weights})
                for group, weights in self.weights.items()
            },
        )

    def places(self, group: str, scores: Mapping[str, Tensor]) -> Tensor:
        """Weighted mean place of each unit, float64 ``[width]`` in (0, 1), 1 being the most important.

        Args:
            group: its name.
            scores: criterion -> scores ``[width]``.
        """
        weights = {name: weight for name, weight in self.weights[group].items() if weight > 0}
        total = sum(weights.values())
        shares = [places(scores[name]) * (weight / total) for name, weight in weights.items()]
        return torch.stack(shares).sum(dim=0)


def places(scores: Tensor) -> Tensor:
    """Place of each unit among all, float64 ``[width]`` in (0, 1); equal ones share their mean place."""
    _, inverse, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    middles = (counts.cumsum(0) - counts / 2) / len(scores)
    mean: Tensor = middles.double()[inverse]
    return mean
