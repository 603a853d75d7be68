"""Extents of tensors as linear functions of group widths, numbered while costs are compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoprune.structure.groups import Extent

Canonical = tuple[int, tuple[tuple[str, int], ...]]
"""Fixed part, and units to extents of every group that counts: equal for extents that are always equal."""


def canonical(extent: Extent) -> Canonical:
    """The same extent with each group once, in the order of names."""
    slopes: dict[str, int] = {}
    for name, k in extent.per_group:
        slopes[name] = slopes.get(name, 0) + k
    return extent.fixed, tuple(sorted((name, k) for name, k in slopes.items() if k))


class ExtentTable:
    """Different extents, in the order in which they were first asked for; number 0 is the constant 1."""

    def __init__(self) -> None:
        self._numbers: dict[Canonical, int] = {(1, ()): 0}

    def number(self, extent: Extent) -> int:
        """Its place, a new one for an extent that was not seen before."""
        return self._numbers.setdefault(canonical(extent), len(self._numbers))

    def slopes(self, groups: Sequence[str]) -> NDArray[np.float64]:
        """Units to extents, shape ``[groups, extents]``; integers kept as float64."""
        columns = {name: column for column, name in enumerate(groups)}
        slopes = np.zeros((len(columns), len(self._numbers)))
        for (_, per_group), number in self._numbers.items():
            for name, k in per_group:
                slopes[columns[name], number] = k
        return slopes

    def offsets(self) -> NDArray[np.float64]:
        """Fixed part of every extent, shape ``[extents]``."""
        return np.array([fixed for fixed, _ in self._numbers], dtype=np.float64)
