"""Made-up model inputs from text such as ``1x3x224x224`` or ``1x20:int64``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.errors import ConfigError

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
LARGEST = 2**28
"""Most elements of an input; a typing error must not fill the memory."""
IMAGE = "1x3x224x224"
"""What the models of torchvision and timm take by default."""
_TEXT = re.compile(r"(\d{1,9}(?:x\d{1,9})*)(?::(\w+))?")


def make_inputs(texts: Sequence[str]) -> tuple[Tensor, ...]:
    """One tensor a text: normal noise, for whole numbers and truth values zeros.

    Raises ConfigError that names the offending text and shows correct ones.
    """
    return tuple(map(_make, texts))


def _make(text: str) -> Tensor:
    match = _TEXT.fullmatch(text.strip())
    dtype = DTYPES.get(match[2] or "float32") if match else None
    if match is None or dtype is None:
        raise ConfigError(
            f"input {text!r} cannot be read: write {IMAGE!r} or '1x20:int64' (types: {', '.join(DTYPES)})"
        )
    shape = torch.Size(map(int, match[1].split("x")))
    if not 0 < shape.numel() <= LARGEST:
        raise ConfigError(f"input {text!r} has {shape.numel()} elements: give 1 to {LARGEST}")
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
