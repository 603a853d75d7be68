"""The entries that belong to each unit."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.structure.groups import Slice


def unit_sums(values: Tensor, part: Slice) -> Tensor:
    """Sum of ``values``, shaped like the sliced parameter, over each unit: float64 ``[width]`` on the CPU."""
    others = [axis for axis in range(values.ndim) if axis != part.axis]
    along_axis = values.sum(dim=others, dtype=torch.float64) if others else values.double()
    return along_axis.cpu()[torch.from_numpy(part.index)].sum(dim=1)


def unit_maxima(values: Tensor, part: Slice) -> Tensor:
    """The largest of ``values``, shaped like the sliced parameter, in each unit: float64 ``[width]``."""
    others = [axis for axis in range(values.ndim) if axis != part.axis]
    along_axis = values.amax(dim=others) if others else values
    return along_axis.double().cpu()[torch.from_numpy(part.index)].amax(dim=1)


def unit_vectors(values: Tensor, part: Slice) -> Tensor:
    """All entries of each unit in one row, in the same order for every unit: ``[width, entries]``."""
    width = len(part.index)
    positions = torch.from_numpy(part.index).reshape(-1).to(values.device)
    return values.index_select(part.axis, positions).movedim(part.axis, 0).reshape(width, -1)


def inner(gradient: Tensor, direction: Tensor) -> Tensor:
    """Entry by entry, the derivative of a loss along a direction, given its gradient; always real."""
    return (gradient.conj() * direction).real if gradient.is_complex() else gradient * direction


def precise(values: Tensor) -> Tensor:
    """In float32 at least: fewer digits overflow, and lose small numbers, when raised to a power."""
    if values.itemsize == 1:
        return values.to(torch.float32)
    return values.to(torch.promote_types(values.dtype, torch.float32))
