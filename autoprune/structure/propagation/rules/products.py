"""Products of activations: one axis is summed, and some are carried along.

Where two activations are multiplied and summed over an axis, the units on that axis leave both of them
together. Units on an axis that both have and the result keeps (the heads of an attention) are joined as a
pointwise operator joins them. What lies on the remaining axes goes on into the result.

Elements that a reshape has spread over heads and over the width of a head can be units in two ways. A
product of heads decides: all elements of a head are one unit, or equal positions in every head are, as
``Propagation.attention`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autoprune.structure.propagation.labels import varying
from autoprune.structure.propagation.propagate import Propagation
from autoprune.structure.propagation.rules.pointwise import join_broadcast

ALONE = "multiplied with activations whose units lie elsewhere"
SUMMED = "combined by a product of activations"
OUTER = "both sides of a product have units of their own"


@dataclass(frozen=True, eq=False)
class Factor:
    """One side of a product: labels and shape, and a letter for every axis, as in an einsum."""

    labels: Tensor
    shape: tuple[int, ...]
    letters: str

    def on(self, letters: str) -> Factor:
        """The same with axes in this order; those that it lacks have size 1. Left-out axes have no units."""
        axes = [self.letters.index(letter) for letter in letters if letter in self.letters]
        others = [axis for axis in range(len(self.letters)) if axis not in axes]
        kept = (
            self.labels.permute([*axes, *others]).flatten(len(axes)) if others else self.labels.permute(axes)
        )
        labels = kept.select(len(axes), 0) if others else kept
        lengths = iter(zip(labels.shape, (self.shape[axis] for axis in axes), strict=True))
        pairs = [next(lengths) if letter in self.letters else (1, 1) for letter in letters]
        return Factor(labels.reshape([size for size, _ in pairs]), tuple(size for _, size in pairs), letters)

    @property
    def units(self) -> str:
        """Letters of the axes on which there are units."""
        return "".join(self.letters[axis] for axis in varying(self.labels))


def product(state: Propagation, left: Factor, right: Factor, result: str) -> Factor:
    """Labels of ``einsum(f"{left.letters},{right.letters}->{result}", left, right)``."""
    shared = [letter for letter in left.letters if letter in right.letters]
    batch = "".join(letter for letter in shared if letter in result)
    by_heads = state.attention == "heads" or any(
        side.units and set(side.units) <= set(batch) for side in (left, right)
    )
    left, right = (_decided(state, side, batch, by_heads) for side in (left, right))
    size = {
        letter: max(left.on(letter).shape[0], right.on(letter).shape[0])
        for letter in result + "".join(shared)
    }
    shape = tuple(size[letter] for letter in result)
    for side, other in ((left, right), (right, left)):
        if side.units and set(side.units) <= set(batch):
            return _by_heads(state, side, other, batch, Factor(side.labels, shape, result))
    summed = [letter for letter in shared if letter not in result]
    for letter in summed:
        _contract(state, left, right, letter)
    carried = [side for side in (left, right) if side.units and side.units in result]
    if len(carried) == 2:
        for side in carried:
            state.space.freeze(side.labels, OUTER)
    elif carried:
        _tie_to_scores(state, carried[0], right if carried[0] is left else left)
        state.space.mark_kind(carried[0].labels, "head width")
        return Factor(carried[0].on(result).labels, shape, result)
    labels = state.space.fixed([1] * len(result), SUMMED)
    if left.units:
        state.sums.append((labels, left.labels.reshape(-1)))
    return Factor(labels, shape, result)


def _tie_to_scores(state: Propagation, values: Factor, scores: Factor) -> None:
    """Values are as wide as the queries and keys whose scores weight them: code has one number for both."""
    if scores.units:
        return
    root = state.space.find(scores.labels.reshape(-1)[:1])
    for summed, units in reversed(state.sums):
        if state.space.find(summed.reshape(-1)) == root:
            if len(units) == values.labels.numel():
                state.space.join(units, values.labels.reshape(-1))
            return


def _decided(state: Propagation, side: Factor, batch: str, by_heads: bool) -> Factor:
    """Units on the axes of the heads, or on one other axis."""
    labels = state.space.settle(side.labels)
    heads = [axis for axis in varying(labels) if side.letters[axis] in batch]
    others = [axis for axis in varying(labels) if side.letters[axis] not in batch]
    if heads and others:
        labels = state.space.keep(labels, heads if by_heads else others)
    if not heads or (others and not by_heads):
        labels = state.space.straighten(labels)
    return Factor(labels, side.shape, side.letters)


def _by_heads(state: Propagation, side: Factor, other: Factor, batch: str, result: Factor) -> Factor:
    """Units on axes that both sides and the result have: joined position by position."""
    if not set(other.units) <= set(batch):
        state.space.freeze(other.labels, ALONE)
        other = Factor(state.space.fixed([1] * len(other.shape), ALONE), other.shape, other.letters)
        joined = side.on(batch).labels
    else:
        pair = [side.on(batch), other.on(batch)]
        shape = tuple(max(sizes) for sizes in zip(*(part.shape for part in pair), strict=True))
        joined = join_broadcast(state.space, [(part.labels, part.shape) for part in pair], shape)
    state.space.mark_kind(joined, "heads")
    return Factor(
        Factor(joined, tuple(joined.shape), batch).on(result.letters).labels, result.shape, result.letters
    )


def _contract(state: Propagation, left: Factor, right: Factor, letter: str) -> None:
    """Both sides lose the same positions of an axis over which their product sums."""
    if letter not in left.units + right.units:
        return
    if set(left.units + right.units) != {letter}:
        for side in (left, right):
            state.space.freeze(side.labels, ALONE)
        return
    state.space.join(left.on(letter).labels, right.on(letter).labels)
    for side in (left, right):
        state.space.mark_contracted(side.labels)
        state.space.mark_kind(side.labels, "head width")
