"""Entropy of activations: units that always say nearly the same carry no information.

Luo and Wu, "An Entropy-based Method for Filter Pruning" (2017): activations are averaged over space, and the
entropy of each unit's histogram over the samples is its importance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.options import check_choice
from autoprune.criteria.registry import register
from autoprune.criteria.scores.activations import Activity, activities, over_reads
from autoprune.errors import CriterionError

Rule = Literal["max", "min"]


@register("entropy")
@dataclass(frozen=True)
class Entropy:
    """Entropy in bits of the histogram of a unit's pooled activations, where consumers read it.

    Attributes:
        rule: ``max`` keeps the units that carry most information: Shannon's entropy, with bins between the
            least and the largest value of the unit itself, so that its scale counts for nothing. ``min``
            cuts the units whose distribution is nearly constant: the min-entropy (Rényi's of infinite
            order), minus the logarithm of the fullest bin's share, with bins common to the group.
        bins: number of bins.
    """

    rule: Rule = "max"
    bins: int = 20

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, get_args(Rule))
        if self.bins < 2:
            raise CriterionError(f"bins={self.bins}: give at least 2")

    def scores(self, context: Context) -> dict[str, Tensor]:
        """The mean over all that read a unit. Raises CriterionError without data."""
        return over_reads(context, activities(context, "entropy"), self._score)

    def _score(self, activity: Activity) -> Tensor:
        values = torch.cat(activity.pooled).double()
        shares = self._shares(values)
        if self.rule == "min":
            return -shares.amax(dim=0).log2()
        return -(shares * shares.clamp_min(1e-300).log2()).sum(dim=0)

    def _shares(self, values: Tensor) -> Tensor:
        """Share of the samples in each bin, ``[bins, width]``, from ``[samples, width]``."""
        low, high = (values.amin(dim=0), values.amax(dim=0))
        if self.rule == "min":
            low, high = low.amin().expand_as(low), high.amax().expand_as(high)
        extent = torch.where(high > low, high - low, 1.0)
        bins = ((values - low) / extent * self.bins).long().clamp_max(self.bins - 1)
        counts = torch.zeros(self.bins, values.shape[1], dtype=torch.float64)
        counts.scatter_add_(0, bins, torch.ones_like(values))
        return counts / len(values)
