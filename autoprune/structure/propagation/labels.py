"""Labels: which unit every element of a tensor belongs to, and a union-find over them.

A tensor's labels are an integer tensor with as many axes, stored with size 1 along every axis on which
they do not change. Two elements with the same label are kept or removed together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from autoprune.structure.graph.error_site import kind_and_line


class LabelSpace:
    """Hands out fresh labels, joins them, and remembers which must stay and why."""

    def __init__(self) -> None:
        self.size = 0
        self._parent: NDArray[np.int64] = np.empty(1024, dtype=np.int64)
        self._frozen: list[tuple[NDArray[np.int64], str]] = []
        self._inexact: list[NDArray[np.int64]] = []
        self._kinds: list[tuple[NDArray[np.int64], str]] = []
        self._contracted: list[NDArray[np.int64]] = []
        self._open: list[Tensor] = []
        self._later: list[tuple[Tensor, Callable[[], object]]] = []
        self._overwritten: list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None = None
        """Labels and their parents before each join of an attempt; None outside of one."""
        self.padding = self.fixed((), "padded with constants")
        self._statistics: set[int] = set()

    def fresh(self, shape: Sequence[int]) -> Tensor:
        """New labels, all different."""
        start, self.size = self.size, self.size + int(np.prod(shape, dtype=np.int64))
        if self.size > len(self._parent):
            self._parent = np.resize(self._parent, 2 * self.size)
        self._parent[start : self.size] = np.arange(start, self.size)
        return torch.arange(start, self.size).reshape(tuple(shape))

    def fixed(self, shape: Sequence[int], reason: str) -> Tensor:
        """One new label for a whole tensor of this shape, which can never be removed."""
        label = self.fresh([1] * len(shape))
        self.freeze(label, reason)
        return label

    def statistic(self, shape: Sequence[int]) -> Tensor:
        """One new label for a number computed from all units of an axis; it serves each of them alike."""
        label = self.fixed(shape, "meets a statistic over other units")
        self._statistics.add(int(label))
        return label

    def is_statistic(self, labels: Tensor) -> bool:
        """Whether a value is computed from statistics over units, and changes along no axis."""
        return labels.numel() == 1 and int(labels) in self._statistics

    def find(self, labels: Tensor) -> Tensor:
        """The representative of each label, in the same shape."""
        roots = labels.numpy()
        while True:
            parents = self._parent[roots]
            if np.array_equal(parents, roots):
                # A contiguous array has one axis at least, labels of a scalar have none.
                return torch.from_numpy(np.ascontiguousarray(parents)).reshape(labels.shape)
            roots = parents

    def join(self, left: Tensor, right: Tensor) -> None:
        """Make elements at the same position one unit; shapes broadcast."""
        a, b = np.broadcast_arrays(self.find(left).numpy(), self.find(right).numpy())
        pairs = np.stack([a.reshape(-1), b.reshape(-1)])
        pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
        if not pairs.size:
            return
        nodes, flat = np.unique(pairs, return_inverse=True)
        rows, columns = flat.reshape(pairs.shape)
        graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(nodes)))
        _, component = connected_components(graph, directed=False)
        smallest = np.full(component.max() + 1, np.iinfo(np.int64).max)
        np.minimum.at(smallest, component, nodes)
        if self._overwritten is not None:
            self._overwritten.append((nodes, self._parent[nodes]))
        self._parent[nodes] = smallest[component]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """When what runs within raises, all that it handed out, joined and noted is taken back."""
        notes: tuple[list[Any], ...] = (
            self._frozen,
            self._inexact,
            self._kinds,
            self._contracted,
            self._open,
            self._later,
        )
        lengths, size = [len(each) for each in notes], self.size
        self._overwritten = []
        try:
            yield
        except BaseException:
            for nodes, parents in reversed(self._overwritten):
                self._parent[nodes] = parents
            for each, length in zip(notes, lengths, strict=True):
                del each[length:]
            self.size = size
            self._statistics = {label for label in self._statistics if label < size}
            raise
        finally:
            self._overwritten = None

    def freeze(self, labels: Tensor, reason: str) -> None:
        """These units must stay; the first reason given to a unit is the one that is kept."""
        self._frozen.append((np.unique(labels.numpy()), reason))

    def mark_inexact(self, labels: Tensor) -> None:
        """A normalisation runs over these units: removing one changes the statistics of the others."""
        self._inexact.append(np.unique(labels.numpy()))

    def mark_kind(self, labels: Tensor, kind: str) -> None:
        """What these units are, where they are no channels; the first kind given to a unit is kept."""
        self._kinds.append((np.unique(labels.numpy()), kind))

    def frozen(self) -> dict[int, str]:
        """Representative of every unit that must stay -> why."""
        return self._first_notes(self._frozen)

    def kinds(self) -> dict[int, str]:
        """Representative of every unit that was given a kind -> the kind."""
        return self._first_notes(self._kinds)

    def mark_contracted(self, labels: Tensor) -> None:
        """A product of activations sums over these units: they are silent once their producers are zero."""
        self._contracted.append(np.unique(labels.numpy()))

    def contracted(self) -> set[int]:
        """Representatives of the units over which a product of activations sums."""
        return self._roots(self._contracted)

    def inexact(self) -> set[int]:
        """Representatives of the units over which a normalisation runs."""
        return self._roots(self._inexact)

    def _roots(self, marked: Sequence[NDArray[np.int64]]) -> set[int]:
        if not marked:
            return set()
        labels = torch.from_numpy(np.concatenate(marked))
        return set(np.unique(self.find(labels).numpy()).tolist())

    def _first_notes(self, notes: Sequence[tuple[NDArray[np.int64], str]]) -> dict[int, str]:
        first: dict[int, str] = {}
        for labels, note in notes:
            for root in np.unique(self.find(torch.from_numpy(labels)).numpy()):
                first.setdefault(int(root), note)
        return first

    def settle(self, labels: Tensor) -> Tensor:
        """Representatives, stored compactly."""
        return compact(self.find(labels))

    def leave_open(self, labels: Tensor) -> Tensor:
        """The labels, which may change along several axes until something decides which one keeps its units.

        What is left of a tensor must be a dense block, so in the end a unit can only be a slice along one
        axis. A rule that needs it decides by :meth:`keep`, :meth:`straighten_open` decides the rest.
        """
        labels = self.settle(labels)
        if len(varying(labels)) > 1:
            self._open.append(labels)
        return labels

    def keep(self, labels: Tensor, axes: Collection[int]) -> Tensor:
        """Tie labels along every axis but these."""
        labels = self.settle(labels)
        for axis in varying(labels):
            if axis not in axes:
                self.join(labels, labels.narrow(axis, 0, 1))
        return self.settle(labels)

    def straighten(self, labels: Tensor) -> Tensor:
        """Tie labels until they change along one axis at most: the longest keeps its units."""
        labels = self.settle(labels)
        axes = varying(labels)
        if len(axes) > 1:
            return self.keep(labels, [max(axes, key=lambda axis: labels.shape[axis])])
        return labels

    def later(self, labels: Tensor, join: Callable[[], object]) -> None:
        """Join labels when all of them change along one axis at most; they freeze where that fails."""
        self._later.append((labels, join))

    def straighten_open(self) -> None:
        """Decide, in the order of the graph, what no rule has decided, and join what waited for that."""
        for labels in self._open:
            self.straighten(labels)
        self._open.clear()
        for labels, join in self._later:
            try:
                with self.attempt():
                    join()
            except Exception as error:
                self.freeze(labels, f"cannot be joined with a table: {kind_and_line(error)}")
        self._later.clear()


def compact(labels: Tensor) -> Tensor:
    """Drop every axis along which the labels do not change to size 1."""
    for axis in reversed(range(labels.dim())):
        if labels.shape[axis] > 1:
            first = labels.narrow(axis, 0, 1)
            if labels.stride(axis) == 0 or bool((labels == first).all()):
                labels = first
    return labels.contiguous()


def varying(labels: Tensor) -> list[int]:
    """Axes along which compact labels change."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]


def along(labels: Tensor, axis: int, size: int) -> Tensor:
    """Labels along one axis as a vector of `size`; the labels must not change along the others."""
    return labels.reshape(labels.shape[axis]).expand(size)
