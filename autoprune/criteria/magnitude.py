"""Magnitude: units with small weights go first.

The norm of a filter as its importance is due to Li et al., "Pruning Filters for Efficient ConvNets"
(2017). A unit here is more than a filter: all layers that produce or consume it are cut with it, so
the norm runs over all of them, as in DepGraph (Fang et al., 2023). Each weight is scaled beforehand so
that its average unit has norm 1; otherwise the layer with the largest weights would decide alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.slices import unit_sums
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group, Slice


class GroupNorm:
    """Lp norm of a unit over the weights that produce and consume it.

    With ``n(W, u)`` the sum of ``|w| ** p`` over the entries of weight ``W`` that belong to unit ``u``, the
    score is ``(mean over W of n(W, u) / mean over v of n(W, v)) ** (1 / p)``, where ``W`` runs over the
    group's "out" and "in" slices with two or more axes: biases and normalisations are left out. The
    mean of ``score ** p`` over a group is 1, which makes the scores of different groups comparable.

    Attributes:
        p: the exponent of the norm.
    """

    p: ClassVar[int]

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError for a group that has no weight matrix."""
        tensors = context.model.state_dict()
        weights = {name: tensors[name] for name in context.structure.parameters if tensors[name].ndim >= 2}
        return {group.name: self._score(group, weights) for group in context.structure.groups}

    def _score(self, group: Group, weights: dict[str, Tensor]) -> Tensor:
        parts = [part for part in group.slices if part.role in ("out", "in") and part.parameter in weights]
        if not parts:
            raise CriterionError(
                f"group {group.name!r} has no weight to take a norm of: use criterion taylor"
            )
        relative = torch.stack([self._relative(weights[part.parameter], part) for part in parts])
        return relative.mean(dim=0).pow(1 / self.p)

    def _relative(self, weight: Tensor, part: Slice) -> Tensor:
        # Half precision overflows and loses small weights when raised to a power.
        precise = weight.to(torch.promote_types(weight.dtype, torch.float32))
        powers = unit_sums(precise.abs().pow(self.p), part)
        # A weight that is zero for every unit says nothing about any of them.
        return powers / powers.mean() if bool(powers.any()) else powers


@register("l1")
class L1(GroupNorm):
    """Norm with p = 1."""

    p = 1


@register("l2")
class L2(GroupNorm):
    """Norm with p = 2."""

    p = 2
