"""What is pruned, as text: whole units that are removed, or weights that are set to zero in a pattern."""

from __future__ import annotations

import re

from autoprune.errors import UserError
from autoprune.utils.untrusted import short

UNITS = "units"
"""Channels, heads and the like, which are removed: tensors get smaller."""
WEIGHTS, KERNELS, NEURONS, N_OF_M, BLOCK = "weights", "kernels", "neurons", "n:m", "block"
MASKS = "weights, N:M such as 2:4, block:RxC such as block:4x4, kernels or neurons"
"""The texts of all patterns that are set to zero: tensors keep their shapes."""

_N_OF_M = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")
_BLOCK = re.compile(r"block:([1-9]\d{0,3})x([1-9]\d{0,3})")


def read_pattern(text: str) -> tuple[str, tuple[int, ...]]:
    """Kind of the pattern, and N and M or the sides of the block.

    Raises UserError, with what there is, for any other text.
    """
    if text in (WEIGHTS, KERNELS, NEURONS):
        return text, ()
    n_of_m, block = _N_OF_M.fullmatch(text), _BLOCK.fullmatch(text)
    if n_of_m and int(n_of_m[1]) < int(n_of_m[2]):
        return N_OF_M, (int(n_of_m[1]), int(n_of_m[2]))
    if block:
        return BLOCK, (int(block[1]), int(block[2]))
    raise UserError(f"granularity {short(text)} is unknown: use {MASKS}")


def is_n_of_m(text: str) -> bool:
    """Whether the text is an N:M pattern, which fixes how much stays."""
    return _N_OF_M.fullmatch(text) is not None


def check_granularity(text: str) -> None:
    """Raise UserError unless the text is one that :mod:`autoprune` knows."""
    if text == UNITS:
        return
    try:
        read_pattern(text)
    except UserError:
        raise UserError(f"granularity {short(text)} is unknown: use {UNITS}, {MASKS}") from None
