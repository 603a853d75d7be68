"""Labels of products: what leaves together, and what goes on into the result."""

import pytest
import torch
from torch import nn

from autoprune.structure.graph.trace import trace
from autoprune.structure.groups import AttentionUnit
from autoprune.structure.propagation.labels import LabelSpace, varying
from autoprune.structure.propagation.propagate import Propagation
from autoprune.structure.propagation.rules.products import Factor, product


def walk(attention: AttentionUnit = "heads") -> Propagation:
    return Propagation(trace(nn.Linear(2, 2), torch.zeros(1, 2)), attention)


def factor(space: LabelSpace, letters: str, shape: tuple[int, ...], units: str) -> Factor:
    sizes = [size if letter in units else 1 for letter, size in zip(letters, shape, strict=True)]
    return Factor(space.fresh(sizes), shape, letters)


def test_heads_are_joined_and_tie_their_width() -> None:
    state = walk()
    q, k = (factor(state.space, "bhxd", (2, 4, 5, 3), "hd") for _ in range(2))
    scores = product(state, q, Factor(k.labels, k.shape, "bhyd"), "bhxy")
    assert (scores.units, scores.shape) == ("h", (2, 4, 5, 5))
    tied = state.space.settle(q.labels)
    assert tied.shape == (1, 4, 1, 1)
    assert torch.equal(tied, state.space.settle(k.labels))
    assert torch.equal(tied, state.space.settle(scores.labels))


def test_widths_are_joined_and_summed() -> None:
    state = walk("width")
    q, k = factor(state.space, "hxd", (4, 5, 3), "hd"), factor(state.space, "hyd", (4, 6, 3), "hd")
    scores = product(state, q, k, "hxy")
    assert scores.units == ""
    assert state.space.settle(q.labels).shape == (1, 1, 3)
    assert torch.equal(state.space.settle(q.labels), state.space.settle(k.labels))
    v = factor(state.space, "hyd", (4, 6, 3), "hd")
    mixed = product(state, scores, v, "hxd")
    assert mixed.units == "d"
    # Values are as wide as what their scores sum over.
    assert torch.equal(state.space.settle(mixed.labels), state.space.settle(q.labels))
    assert set(state.space.settle(q.labels).flatten().tolist()) <= state.space.contracted()


def test_one_head_of_keys_serves_all_heads_of_the_query() -> None:
    state = walk()
    q, k = factor(state.space, "hxd", (4, 5, 3), "hd"), factor(state.space, "hyd", (1, 6, 3), "")
    scores = product(state, q, k, "hxy")
    assert scores.units == "h"
    assert not state.space.frozen().keys() & set(state.space.settle(q.labels).flatten().tolist())


@pytest.mark.parametrize(("left", "right"), [("x", "y"), ("h", "d")])
def test_units_that_lie_elsewhere_stay(left: str, right: str) -> None:
    state = walk()
    q, k = factor(state.space, "hxd", (4, 5, 3), left), factor(state.space, "hyd", (4, 6, 3), right)
    product(state, q, k, "hxy")
    assert set(state.space.settle(k.labels).flatten().tolist()) <= state.space.frozen().keys()


def test_result_axes_stand_where_the_letters_say() -> None:
    state = walk()
    left, right = factor(state.space, "xz", (5, 4), ""), factor(state.space, "zy", (4, 6), "y")
    result = product(state, left, right, "yx")
    assert varying(result.labels) == [0]
    assert result.shape == (6, 5)
