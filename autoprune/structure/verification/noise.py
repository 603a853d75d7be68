"""Noise that can be added to a tensor and to a slice of it alike."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ENOUGH = 50_000
"""Elements of which a standard deviation is known well enough."""


def add_noise(
    tensor: Tensor, name: str, whole: Tensor, kept: Mapping[int, NDArray[np.int64]], *, positive: bool
) -> None:
    """Add to `tensor`, in place, what belongs to its elements in the original tensor of that name.

    The noise is an outer product of one random vector an axis, so that a slice of it costs no more than the
    slice. It brings weights up to half the standard deviation with which a layer keeps the scale of what it
    reads (LeCun et al., 1998): signals then reach the output even where the model's own weights are zero or
    far too small. Larger weights get a tenth of their own: with much more, rounding errors grow from layer
    to layer.

    Args:
        tensor: floating-point values of the kept positions.
        name: what the noise depends on.
        whole: the original tensor.
        kept: axis -> positions that stay; all of them on the other axes.
        positive: add no negative numbers, for tensors that may be variances.
    """
    shape = whole.shape
    if not shape:
        tensor.add_(0.01)
        return
    vectors = [_vector(f"{name}:{axis}", size, kept.get(axis)) for axis, size in enumerate(shape)]
    factors = [
        (vector.abs() if positive else vector)
        .to(tensor)
        .reshape([-1 if other == axis else 1 for other in range(len(shape))])
        for axis, vector in enumerate(vectors)
    ]
    rest = torch.ones([1] * len(shape)).to(tensor)
    for factor in factors[1:]:
        rest = rest * factor
    if tensor.is_complex():
        # Of both parts, so that a conjugate shows.
        rest = rest * (1 + 1j)
    tensor.addcmul_(factors[0], rest, value=_spread(whole))


def _spread(whole: Tensor) -> float:
    """Standard deviation of the noise."""
    if whole.dim() == 1:
        return 0.1
    flat = whole.detach().reshape(-1)
    some = flat[:: 1 + len(flat) // _ENOUGH]
    some = torch.view_as_real(some) if some.is_complex() else some
    own = float(some.to(torch.float32 if some.itemsize == 1 else some.dtype).std()) if len(flat) > 1 else 0.0
    wanted = 0.5 / math.sqrt(whole.numel() / whole.shape[0])
    return math.sqrt(max(wanted**2 - own**2, (0.1 * own) ** 2))


def _vector(name: str, size: int, kept: NDArray[np.int64] | None) -> Tensor:
    """Numbers between 0.5 and 1.5 of random sign."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    numbers = torch.rand(size, generator=generator) + 0.5
    signs = torch.randint(2, (size,), generator=generator) * 2 - 1
    vector = numbers * signs
    return vector if kept is None else vector[torch.from_numpy(kept)]
