"""Geometric median: units that the others can stand in for go first.

He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration" (2019):
a filter near the geometric median of its layer, which is one with a small sum of distances to all others,
adds least to what they span.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.slices import precise, unit_vectors
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


@register("fpgm")
def score(context: Context) -> dict[str, Tensor]:
    """Sum of Euclidean distances to the other units, in the weights that produce them.

    Where several weights produce a unit, each one's sums are divided by their mean before they are averaged.
    Raises CriterionError for a group that no weight matrix produces.
    """
    tensors = context.model.state_dict()
    weights = {name: tensors[name] for name in context.structure.parameters if tensors[name].ndim >= 2}
    return {group.name: _score(group, weights) for group in context.structure.groups}


def _score(group: Group, weights: dict[str, Tensor]) -> Tensor:
    parts = [part for part in group.slices if part.role == "out" and part.parameter in weights]
    if not parts:
        raise CriterionError(f"group {group.name!r} has no weight that produces it: use criterion taylor")
    each = []
    for part in parts:
        vectors = unit_vectors(precise(weights[part.parameter]), part)
        vectors = (torch.view_as_real(vectors).flatten(1) if vectors.is_complex() else vectors).double()
        # In double precision the matrix product, which is much faster, rounds off nothing that counts.
        sums = torch.cdist(vectors, vectors, compute_mode="use_mm_for_euclid_dist").sum(dim=1)
        each.append(sums / sums.mean() if bool(sums.any()) else sums)
    return torch.stack(each).mean(dim=0).cpu()
