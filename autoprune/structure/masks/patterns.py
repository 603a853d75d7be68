"""How a weight falls into units that are kept or set to zero.

Every pattern arranges a weight as ``[contests, units, entries]``: the units of one contest compete with
each other, the same number of them is kept in each contest, and all entries of a unit share its fate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.config.granularity import KERNELS, N_OF_M, NEURONS, WEIGHTS, read_pattern
from autoprune.structure.masks.weights import Weight


class Pattern(ABC):
    """One way to lay units over a weight; its text is what :func:`parse_pattern` reads.

    Attributes:
        kind: what a unit is.
    """

    kind: ClassVar[str]

    @property
    def least(self) -> int:
        """Fewest units of a contest that are kept."""
        return 1

    @property
    def height(self) -> int:
        """Rows of the matrix that a unit reaches over."""
        return 1

    @abstractmethod
    def refusal(self, weight: Weight) -> str:
        """Why the pattern does not fit the weight; empty where it does."""

    @abstractmethod
    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """Contests, units of each, and entries of a unit."""

    def arrange(self, tensor: Tensor, weight: Weight) -> Tensor:
        """The tensor as ``[contests, units, entries]``."""
        return weight.matrix(tensor).reshape(self.shape(weight))

    def restore(self, arranged: Tensor, weight: Weight) -> Tensor:
        """The inverse of :meth:`arrange`."""
        return weight.tensor(arranged.reshape(weight.rows, weight.columns))


@dataclass(frozen=True)
class Weights(Pattern):
    """Unstructured: every weight is a unit (Han et al., 2015)."""

    kind: ClassVar[str] = "weights"

    def __str__(self) -> str:
        return "weights"

    def refusal(self, weight: Weight) -> str:
        """Fits every weight of two entries or more."""
        return "" if weight.size > 1 else "it has one entry only"

    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """One contest of all entries."""
        return 1, weight.size, 1


@dataclass(frozen=True)
class NOfM(Pattern):
    """At most ``n`` of every ``m`` consecutive weights along the inputs (Zhou et al., 2021).

    The unit is a place in the order of the ``m``: at a width of 2, the two best of every ``m`` stay. A
    layer keeps either ``n`` places or, left dense, all of them.
    """

    kind: ClassVar[str] = "places"
    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def least(self) -> int:
        """``n``."""
        return self.n

    def refusal(self, weight: Weight) -> str:
        """Does not fit where ``m`` does not divide the number of inputs."""
        return "" if weight.columns % self.m == 0 else f"{self.m} does not divide its {weight.columns} inputs"

    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """A contest for every ``m`` weights."""
        return weight.size // self.m, self.m, 1


@dataclass(frozen=True)
class Blocks(Pattern):
    """Rectangles of the matrix of outputs by inputs; ``1x3`` is a row of a 3x3 kernel."""

    kind: ClassVar[str] = "blocks"
    rows: int
    columns: int

    def __str__(self) -> str:
        return f"block:{self.rows}x{self.columns}"

    @property
    def height(self) -> int:
        """``rows``."""
        return self.rows

    def refusal(self, weight: Weight) -> str:
        """Does not fit where the block does not divide the matrix, or is all of it."""
        if weight.rows % self.rows or weight.columns % self.columns:
            return f"{self.rows}x{self.columns} does not divide its {weight.rows}x{weight.columns} matrix"
        return "" if weight.size > self.rows * self.columns else "it is a single block"

    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """One contest of all blocks."""
        entries = self.rows * self.columns
        return 1, weight.size // entries, entries

    def arrange(self, tensor: Tensor, weight: Weight) -> Tensor:
        """Blocks in the order of rows, then columns."""
        down, across = weight.rows // self.rows, weight.columns // self.columns
        grid = weight.matrix(tensor).reshape(down, self.rows, across, self.columns)
        return grid.transpose(1, 2).reshape(self.shape(weight))

    def restore(self, arranged: Tensor, weight: Weight) -> Tensor:
        """The inverse of :meth:`arrange`."""
        down, across = weight.rows // self.rows, weight.columns // self.columns
        grid = arranged.reshape(down, across, self.rows, self.columns)
        return weight.tensor(grid.transpose(1, 2).reshape(weight.rows, weight.columns))


@dataclass(frozen=True)
class Kernels(Pattern):
    """Whole kernels of convolutions: what connects one input channel with one output channel."""

    kind: ClassVar[str] = "kernels"

    def __str__(self) -> str:
        return "kernels"

    def refusal(self, weight: Weight) -> str:
        """Fits convolutions of two kernels or more."""
        if weight.layer != "convolution":
            return "it is no convolution and has no kernels"
        return "" if weight.size > weight.kernel else "it has one kernel only"

    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """One contest of all kernels."""
        return 1, weight.size // weight.kernel, weight.kernel


@dataclass(frozen=True)
class Neurons(Pattern):
    """Rows of fully connected layers. The bias stays: a neuron without weights gives a constant."""

    kind: ClassVar[str] = "neurons"

    def __str__(self) -> str:
        return "neurons"

    def refusal(self, weight: Weight) -> str:
        """Fits linear layers of two rows or more."""
        if weight.layer != "linear":
            return "it is no fully connected layer"
        return "" if weight.rows > 1 else "it has one neuron only"

    def shape(self, weight: Weight) -> tuple[int, int, int]:
        """One contest of all rows."""
        return 1, weight.rows, weight.columns


def parse_pattern(text: str) -> Pattern:
    """The pattern of that text. Raises UserError, with what there is, for any other text."""
    kind, sides = read_pattern(text)
    plain: dict[str, Pattern] = {WEIGHTS: Weights(), KERNELS: Kernels(), NEURONS: Neurons()}
    if kind in plain:
        return plain[kind]
    return NOfM(*sides) if kind == N_OF_M else Blocks(*sides)


def ranks(scores: Tensor) -> Tensor:
    """Place of every unit in its contest, 0 for the least important; of equals the lower index goes first.

    Args:
        scores: ``[contests, units]``.

    Returns:
        int32 of the same shape.
    """
    order = torch.argsort(scores, dim=1, stable=True)
    places = torch.arange(scores.shape[1], dtype=torch.int32, device=scores.device).expand_as(order)
    return torch.empty(scores.shape, dtype=torch.int32, device=scores.device).scatter_(1, order, places)


def mask_of(pattern: Pattern, weight: Weight, places: Tensor, width: int) -> Tensor:
    """Boolean mask in the weight's shape: true where the ``width`` best units of every contest are.

    Args:
        pattern: what the units are.
        weight: which tensor.
        places: result of :func:`ranks`, ``[contests, units]``.
        width: units that stay in each contest.
    """
    kept = places >= places.shape[1] - width
    entries = pattern.shape(weight)[2]
    return pattern.restore(kept.unsqueeze(2).expand(-1, -1, entries), weight).contiguous()
