"""Random order: what any other criterion has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register


@register("random")
def score(context: Context) -> dict[str, Tensor]:
    """Uniform numbers in [0, 1), the same for the same seed and groups."""
    generator = torch.Generator().manual_seed(context.seed)
    return {
        group.name: torch.rand(group.width, dtype=torch.float64, generator=generator)
        for group in context.structure.groups
    }
