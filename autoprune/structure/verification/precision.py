"""In which numbers models are compared, and how far two runs may then be apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference, relative to the largest output, by the coarsest type that a run computes in."""
COARSEST_TOLERANCE = 0.1
"""The same for types of eight bits and less. A wrong cut is off by about as much as the outputs are large."""
MOST_ELEMENTS, MOST_IN_ONE_TENSOR = 100_000_000, 16_000_000
"""Larger models are compared in float32 first, which takes half the memory and a third of the time."""


@dataclass(frozen=True)
class ComparisonPrecision:
    """How models are run to be compared.

    Attributes:
        dtype: type of all their numbers; None leaves every tensor and every cast as it is.
        coarsest: the type of the fewest digits among those in which operators compute.
    """

    dtype: torch.dtype | None
    coarsest: torch.dtype

    @property
    def tolerance(self) -> float:
        """Largest difference, relative to the largest output."""
        return TOLERANCES.get(self.coarsest, COARSEST_TOLERANCE)

    def __str__(self) -> str:
        name = str(self.coarsest).removeprefix("torch.")
        return name if self.dtype is not None else f"the model's own precision, {name}"


DOUBLE, SINGLE = (ComparisonPrecision(dtype, dtype) for dtype in (torch.float64, torch.float32))


def precisions_for(model: nn.Module) -> tuple[ComparisonPrecision, ...]:
    """In what to compare, the quickest first; a difference in the last one counts."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    if any(parameter.device.type == "mps" for parameter in model.parameters()):
        return (SINGLE,)
    large = sum(sizes) > MOST_ELEMENTS or max(sizes, default=0) > MOST_IN_ONE_TENSOR
    return (SINGLE, DOUBLE) if large else (DOUBLE,)


def is_number(tensor: Tensor) -> bool:
    """Whether a tensor holds real or complex numbers rather than integers, truth values or codes."""
    return tensor.is_floating_point() or tensor.is_complex()


def in_type(dtype: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    """The type that stands for `dtype` where everything is computed in `wanted`: complex stays complex."""
    if dtype.is_complex:
        return wanted.to_complex()
    return wanted if dtype.is_floating_point else dtype


def coarser(first: torch.dtype, second: torch.dtype) -> torch.dtype:
    """Of two types of numbers, the real one with fewer digits."""
    real = [dtype.to_real() if dtype.is_complex else dtype for dtype in (first, second)]
    return max(real, key=lambda dtype: torch.finfo(dtype).eps)
