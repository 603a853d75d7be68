"""Redundancy: a unit that goes up and down with one that stays can be spared.

Greedy elimination by correlated feature maps, as in Wang et al., "Exploring Linear Relationship in Feature
Map Subspace for ConvNets Compression" (2018) and Ayinde et al., "Redundant feature pruning for accelerated
inference in deep neural networks" (2019).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.observation import Observation
from autoprune.criteria.registry import register
from autoprune.criteria.scores.activations import observe
from autoprune.criteria.unit_activations import Key

Matrix = NDArray[np.float64]


class _Moments:
    """Sums, sums of products, and number of values of the units of one read."""

    def __init__(self, width: int) -> None:
        self.sums = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)
        self.count = 0

    def add(self, rows: Tensor) -> None:
        """Count ``[width, values]`` in."""
        self.sums += rows.sum(dim=1, dtype=torch.float64).cpu()
        self.products += (rows @ rows.T).double().cpu()
        self.count += rows.shape[1]

    def correlations(self) -> Tensor:
        """Absolute correlations ``[width, width]``; 1 for a unit that is constant, with all others."""
        means = self.sums / self.count
        covariance = self.products / self.count - torch.outer(means, means)
        variance = covariance.diagonal()
        # Where the variance is lost in rounding, the unit is as good as constant.
        constant = variance <= 1e-6 * (self.products.diagonal() / self.count)
        scale = torch.where(constant, 1.0, variance).rsqrt()
        correlations = (covariance * torch.outer(scale, scale)).abs().clamp_max(1.0)
        correlations[constant, :] = correlations[:, constant] = 1.0
        return correlations


@register("redundancy")
def score(context: Context) -> dict[str, Tensor]:
    """One minus a unit's largest absolute correlation with the units that were still there when it went.

    The most correlated pair of those left loses the one that is more correlated with all others, until one
    unit is left; it scores above all others. Units are compared value by value, sample and position, where
    consumers read them (the mean over all that read them), heads by the strength of what they say.
    Raises CriterionError without data.
    """
    moments: dict[Key, _Moments] = {}

    def see(seen: Observation) -> None:
        rows = _rows(seen)
        moments.setdefault(seen.read.key, _Moments(len(rows))).add(rows)

    observe(context, "redundancy", see)
    return {
        group.name: eliminate(
            torch.stack([m.correlations() for key, m in moments.items() if key[-1] == group.name])
            .mean(dim=0)
            .numpy()
        )
        for group in context.structure.groups
    }


def eliminate(correlations: Matrix) -> Tensor:
    """Scores ``[width]`` by greedy elimination, from a symmetric matrix of absolute correlations."""
    left = np.maximum(correlations, correlations.T).astype(np.float64)
    np.fill_diagonal(left, -1.0)
    width = len(left)
    totals = left.sum(axis=1)
    alive = np.ones(width, dtype=bool)
    closest, partner = left.max(axis=1), left.argmax(axis=1)
    scores = np.full(width, 1.0 + 1.0 / width)
    for _ in range(width - 1):
        first = int(np.where(alive, closest, -1.0).argmax())
        second = int(partner[first])
        # The last pair is equally correlated with all others, but for rounding.
        gone = second if totals[second] > totals[first] + 1e-9 else first
        scores[gone] = 1.0 - closest[first]
        alive[gone] = False
        totals -= left[gone]
        left[gone, :] = left[:, gone] = -1.0
        for unit in np.flatnonzero(alive & (partner == gone)):
            partner[unit] = int(left[unit].argmax())
            closest[unit] = left[unit, partner[unit]]
    return torch.from_numpy(scores)


def _rows(seen: Observation) -> Tensor:
    """``[width, values]``."""
    units = seen.units().float()
    if seen.read.kind == "heads":
        units = torch.linalg.vector_norm(units, dim=2, keepdim=True)
    return units.movedim(1, 0).flatten(1)
