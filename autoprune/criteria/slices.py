"""Sums over the entries that belong to each unit."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.structure.groups import Slice


def unit_sums(values: Tensor, part: Slice) -> Tensor:
    """Sum of ``values``, shaped like the sliced parameter, over each unit: float64 ``[width]`` on the CPU."""
    others = [axis for axis in range(values.ndim) if axis != part.axis]
    along_axis = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    return along_axis.cpu()[torch.from_numpy(part.index)].sum(dim=1)
