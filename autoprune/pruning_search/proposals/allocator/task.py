"""The question that allocators answer: curves, exact costs, and how much may be spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoprune.criteria.curve import Curve, weighted

Spend = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Widths of n plans, ``[n, groups]`` -> the share of every limit that each takes, ``[n, limits]``."""

Positions = NDArray[np.int64]
"""For every group the position of its width on its curve, ``[groups]``."""


@dataclass(frozen=True)
class Allocation:
    """Widths for all groups.

    Attributes:
        widths: group -> units that stay.
        loss: sum of the curves at these widths, coefficients included.
        spent: the largest share of a limit that they take.
    """

    widths: dict[str, int]
    loss: float
    spent: float


@dataclass(frozen=True, eq=False)
class AllocationTask:
    """Curves of all groups, and what plans cost.

    The predicted loss of a plan is the sum of its groups' losses; its cost is exact.

    Attributes:
        curves: group -> its curve.
        spend: exact costs, relative to their limits; columns of its argument are in the order of `curves`.
    """

    curves: Mapping[str, Curve]
    spend: Spend

    def weighted(
        self, scales: Mapping[str, float], shifts: Mapping[str, float] | None = None
    ) -> AllocationTask:
        """The same with curves that are changed group by group, where there is a coefficient for it.

        Args:
            scales: group -> what its curve is multiplied by.
            shifts: group -> strength of the straight line that is added to that, relative to the median
                group's largest loss.
        """
        return replace(self, curves=weighted(self.curves, scales, shifts or {}))

    @cached_property
    def widest(self) -> Positions:
        """The last position of every group."""
        return np.array([len(curve.widths) - 1 for curve in self.curves.values()], dtype=np.int64)

    def spent(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """The largest share of a limit that each of n plans takes; positions ``[n, groups]`` -> ``[n]``."""
        most: NDArray[np.float64] = self.shares(positions).max(axis=1)
        return most

    def shares(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of every limit that each of n plans takes, ``[n, limits]``."""
        return self.spend(self._widths[self._columns, positions])

    def loss(self, positions: Positions) -> float:
        """Predicted increase of the loss."""
        return float(self.losses(positions[None])[0])

    def losses(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for n plans; positions ``[n, groups]`` -> ``[n]``."""
        sums: NDArray[np.float64] = self._losses[self._columns, positions].sum(axis=1)
        return sums

    def position(self, widths: Mapping[str, int]) -> Positions:
        """The positions of the widths, or of the ones next to them."""
        at = [np.abs(np.array(curve.widths) - widths[name]).argmin() for name, curve in self.curves.items()]
        return np.array(at, dtype=np.int64)

    def allocation(self, positions: Positions) -> Allocation:
        """The plan at these positions."""
        widths = self._widths[self._columns, positions].tolist()
        spent = float(self.spent(positions[None])[0])
        return Allocation(dict(zip(self.curves, widths, strict=True)), self.loss(positions), spent)

    @cached_property
    def drops(self) -> list[NDArray[np.float64]]:
        """For every group what each step down loses; see :attr:`Curve.drops`."""
        return [curve.drops for curve in self.curves.values()]

    @cached_property
    def _columns(self) -> NDArray[np.intp]:
        return np.arange(len(self.curves))

    @cached_property
    def _widths(self) -> NDArray[np.int64]:
        return _pad([curve.widths for curve in self.curves.values()]).astype(np.int64)

    @cached_property
    def _losses(self) -> NDArray[np.float64]:
        return _pad([curve.losses for curve in self.curves.values()])


def _pad(rows: list[tuple[int, ...]] | list[tuple[float, ...]]) -> NDArray[np.float64]:
    """The rows as one array, the shorter ones filled with zeros that nothing reads."""
    table = np.zeros((len(rows), max(map(len, rows), default=0)))
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table
