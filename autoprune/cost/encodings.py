"""How many bytes a weight with zeros takes, by the best of a few simple encodings.

No file is written in them here: the exported formats hold all entries, zeros too. The numbers say what a
runtime or a file format that knows the pattern would need.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.structure.masks import MaskGroup
from autoprune.structure.masks.patterns import NOfM

POINTER_BYTES = 4
"""Of a position in the list of non-zero units, one for every row and one more."""
SHORT = 2**16
"""Columns up to which an index takes two bytes rather than four."""


@dataclass(frozen=True)
class Encoded:
    """The smallest encoding of one weight: its name and its bytes."""

    encoding: str
    size: int


def encodings(group: MaskGroup, width: int, itemsize: int) -> dict[str, int]:
    """Bytes of a weight of which ``width`` units stay, in every encoding that fits its pattern.

    ``dense``: all entries. ``bitmap``: a bit for every unit that may be zero (for N:M every entry), then the
    values. ``csr``: for every row of the matrix of outputs by inputs a pointer of 32 bits, for every unit
    its column in 16 bits where 65536 columns do and else in 32, then the values; of blocks, kernels and
    neurons this is block-sparse (BSR) storage. ``n:m``: the values, and log2 M bits, rounded up, for each.

    Args:
        group: the weight and its pattern.
        width: units that stay in each contest.
        itemsize: bytes of a value.
    """
    contests, units, entries = group.pattern.shape(group.weight)
    kept = contests * width
    values = kept * entries * itemsize
    down, across = _grid(group)
    index = 2 if across <= SHORT else 4
    sizes = {
        "dense": group.weight.size * itemsize,
        "bitmap": _bytes(contests * units) + values,
        "csr": (down + 1) * POINTER_BYTES + kept * index + values,
    }
    if isinstance(group.pattern, NOfM) and width <= group.pattern.n:
        sizes["n:m"] = _bytes(kept * (group.pattern.m - 1).bit_length()) + values
    return sizes


def smallest(group: MaskGroup, width: int, itemsize: int) -> Encoded:
    """The encoding with the fewest bytes; of equals the simpler one."""
    sizes = encodings(group, width, itemsize)
    best = min(sizes, key=lambda name: sizes[name])
    return Encoded(best, sizes[best])


def _grid(group: MaskGroup) -> tuple[int, int]:
    """Rows and columns of units in the matrix; N:M and single weights are units of one entry."""
    contests, units, _ = group.pattern.shape(group.weight)
    down = group.weight.rows // group.pattern.height
    return down, contests * units // down


def _bytes(bits: int) -> int:
    return -(-bits // 8)
