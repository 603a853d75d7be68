"""What the operators of a plan have to do, as numbers of which latency is about a weighted sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoprune.cost.extents import ExtentTable
from autoprune.cost.flops import Term, operation_terms
from autoprune.structure import Structure
from autoprune.structure.groups import Extent, Operation, Shape

BLOCKS = (4, 8, 16)
"""Channels that kernels handle at a time: a number that is no multiple of them goes another, slower way."""

_ONE = Extent(1)
Column = tuple[object, ...]
"""What identifies a feature."""


@dataclass(frozen=True, eq=False)
class Workload:
    """Features of plans, compiled once from a structure. Made by :meth:`of`.

    There is one for the multiply-adds of every product (convolution, matrix product, attention), and for
    each kind of operator what it reads and writes, its multiply-adds with channels rounded up to blocks, and
    the part of its multiply-adds and results whose channels are no multiple of a block. All are relative to
    the original model's.

    Attributes:
        groups: names of the groups; the order of the columns of widths.
        slopes: units to extents, shape ``[groups, extents]``.
        offsets: fixed part of every extent, shape ``[extents]``.
        factors: extents that every amount of work multiplies, shape ``[degree, amounts]``.
        coefficients: of every amount, shape ``[amounts]``.
        uneven: amount, extent and block of every amount that counts where the extent is no multiple of the
            block, shape ``[3, uneven]``.
        padded: amount, two extents and block of every amount that grows as the extents are rounded up,
            shape ``[4, padded]``.
        sums: which amounts, then which uneven and which padded ones, every feature adds up,
            shape ``[amounts + uneven + padded, features]``.
    """

    groups: tuple[str, ...]
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    factors: NDArray[np.intp]
    coefficients: NDArray[np.float64]
    uneven: NDArray[np.intp]
    padded: NDArray[np.intp]
    sums: NDArray[np.float64]

    @classmethod
    def of(cls, structure: Structure) -> Workload:
        """Compile the features of a structure's operators."""
        builder = _WorkloadBuilder()
        for number, operation in enumerate(structure.operations):
            builder.add(number, operation)
        return builder.build(structure.widths)

    def features(self, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Features of many plans: widths (units) ``[n, groups]`` to ``[n, features]``; the first is 1."""
        extents = widths @ self.slopes + self.offsets
        amounts = self.coefficients * np.prod(extents[:, self.factors], axis=1)
        which, extent, block = self.uneven
        uneven = amounts[:, which] * (extents[:, extent] % block != 0)
        which, first, second, block = self.padded
        padded = amounts[:, which] * _padding(extents[:, first], block) * _padding(extents[:, second], block)
        return np.concatenate([amounts, uneven, padded], axis=1) @ self.sums

    def vector(self, widths: Mapping[str, int]) -> NDArray[np.int64]:
        """Widths of one plan as a row for :meth:`features`."""
        return np.array([[widths[name] for name in self.groups]], dtype=np.int64)


@dataclass
class _WorkloadBuilder:
    extents: ExtentTable = field(default_factory=ExtentTable)
    amounts: list[tuple[float, list[int]]] = field(default_factory=lambda: [(1.0, [0])])
    columns: dict[Column, list[int]] = field(default_factory=lambda: {("constant",): [0]})
    uneven: list[tuple[int, int, int, Column]] = field(default_factory=list)
    padded: list[tuple[int, int, int, int, Column]] = field(default_factory=list)

    def add(self, number: int, operation: Operation) -> None:
        kind = _kind(operation)
        terms = [term.within(operation.block) for term in operation_terms(operation)]
        multiplies = [term for term in terms if _is_product(operation)]
        moved = self._amount(Term(1, operation.output).within(operation.block), (kind, "written"))
        if not multiplies:
            return
        self._amount(Term(1, operation.inputs[0]).within(operation.block), (kind, "read"))
        done = [self._amount(term, (number,)) for term in multiplies]
        channels = [extent if extent.per_group else _ONE for extent in operation.inputs[1][:2]]
        for block in BLOCKS:
            self._pad(done, channels, block, kind)
            for axis, extent in enumerate(channels):
                if extent is not _ONE:
                    self._misalign([moved], extent, block, (kind, "written", axis, block))
                    self._misalign(done, extent, block, (kind, "done", axis, block))

    def _misalign(self, amounts: Sequence[int], extent: Extent, block: int, column: Column) -> None:
        self.uneven += [(amount, self.extents.number(extent), block, column) for amount in amounts]

    def _pad(self, amounts: Sequence[int], channels: Sequence[Extent], block: int, kind: Column) -> None:
        first, second = map(self.extents.number, channels)
        self.padded += [(amount, first, second, block, (kind, "padded", block)) for amount in amounts]

    def _amount(self, term: Term, column: Column) -> int:
        self.amounts.append((float(term.coefficient), list(map(self.extents.number, term.extents))))
        self.columns.setdefault(column, []).append(len(self.amounts) - 1)
        return len(self.amounts) - 1

    def build(self, full: Mapping[str, int]) -> Workload:
        degree = max(len(factors) for _, factors in self.amounts)
        factors = [row + [0] * (degree - len(row)) for _, row in self.amounts]
        derived = [row[-1] for row in self.uneven] + [row[-1] for row in self.padded]
        for place, key in enumerate(derived, start=len(self.amounts)):
            self.columns.setdefault(key, []).append(place)
        rows = len(self.amounts) + len(self.uneven) + len(self.padded)
        sums = np.zeros((rows, len(self.columns)))
        for column, places in enumerate(self.columns.values()):
            sums[places, column] = 1.0
        workload = Workload(
            groups=tuple(full),
            slopes=self.extents.slopes(tuple(full)),
            offsets=self.extents.offsets(),
            factors=np.array(factors, dtype=np.intp).T,
            coefficients=np.array([coefficient for coefficient, _ in self.amounts]),
            uneven=np.array([row[:3] for row in self.uneven], dtype=np.intp).reshape(-1, 3).T,
            padded=np.array([row[:4] for row in self.padded], dtype=np.intp).reshape(-1, 4).T,
            sums=sums,
        )
        return _relative(workload, full)


def _relative(workload: Workload, full: Mapping[str, int]) -> Workload:
    """The same with every feature divided by what the original model has of it, aligned or not."""
    extents = workload.vector(full) @ workload.slopes + workload.offsets
    amounts = workload.coefficients * np.prod(extents[:, workload.factors], axis=1)
    of = np.concatenate([np.arange(amounts.shape[1]), workload.uneven[0], workload.padded[0]])
    whole = amounts[:, of] @ workload.sums
    workload.sums[:] /= np.where(whole > 0, whole, 1.0)
    return workload


def _padding(extents: NDArray[np.float64], block: NDArray[np.intp]) -> NDArray[np.float64]:
    """By how much an extent grows when it is rounded up; 1 for the constant 1 and for an empty one."""
    rounded = np.where(extents == 1, 1, np.ceil(extents / block) * block)
    return np.divide(rounded, extents, out=np.ones_like(rounded), where=extents > 0)


def _is_product(operation: Operation) -> bool:
    """Whether it multiplies two operands of several axes: a convolution, a matrix product, attention."""
    return len(operation.inputs) > 1 and len(operation.inputs[1]) > 1


def _kind(operation: Operation) -> Column:
    """Operators that kernels treat alike: of one kind, and for convolutions of one window."""
    if not _is_product(operation) or not operation.kind.startswith("conv"):
        return (operation.kind,)
    weight = operation.inputs[1]
    return (operation.kind, *_window(weight))


def _window(weight: Shape) -> Iterator[object]:
    """Size of the window, and whether every channel is by itself."""
    yield from (extent.fixed for extent in weight[2:])
    yield weight[1] == _ONE
