"""Sizes that no name points out follow a cut where the proof needs them to."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.structure import apply, discover
from autoprune.structure.verification.verify import half_plan

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Settings:
    width: int
    depth: int = 16
    """Equal to the width by chance."""


class Reshaped(nn.Module):
    """Takes its width from wherever `read` finds it in what it holds."""

    def __init__(self, held: Any, read: str) -> None:
        super().__init__()
        self.x, self.read = held, read
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        width = eval(self.read, {"x": self.x})
        return self.second(torch.relu(self.first(x)).reshape(len(x), width))


@pytest.mark.parametrize(
    ("held", "read"),
    [
        (16, "x"),
        ((3, 16), "x[1]"),
        ([16], "x[0]"),
        ({"c": {"deep": 16}}, "x['c']['deep']"),
        (Settings(16), "x.width"),
        (SimpleNamespace(c=16, layers=16), "x.c"),
        (torch.Size([16]), "x[0]"),
    ],
    ids=["number", "tuple", "list", "dictionary", "data class", "namespace", "size"],
)
def test_a_size_follows_wherever_code_keeps_it(held: Any, read: str) -> None:
    torch.manual_seed(0)
    model = Reshaped(held, read).eval()
    structure = discover(model, X)
    assert structure.widths == {"first": 16}
    before = repr(held)
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert eval(read, {"x": pruned.x}) == 8
    assert pruned(X).shape == (2, 3)
    assert repr(model.x) == before


def test_a_number_that_is_equal_by_chance_stays() -> None:
    model = Reshaped(Settings(16), "x.width").eval()
    structure = discover(model, X)
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert pruned.x == Settings(8, 16)


class Row(nn.Module):
    """A layer whose weight is ``[a, b]``."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.a, self.b, self.weight = a, b, nn.Parameter(torch.randn(a, b))

    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(-1, self.a) @ self.weight).reshape(*x.shape[:-1], self.b)


def test_an_attribute_means_the_same_axis_in_every_layer_of_its_class() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Row(6, 16), nn.ReLU(), Row(16, 16), nn.ReLU(), Row(16, 3)).eval()
    structure = discover(model, X)
    assert structure.widths == {"0": 16, "2": 16}
    pruned = apply(model, half_plan(structure, structure.groups[:1]), structure)
    assert (pruned[2].a, pruned[2].b, pruned(X).shape) == (8, 16, (2, 3))


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm(16, elementwise_affine=False), nn.RMSNorm(16, eps=1e-6, elementwise_affine=False)],
    ids=["LayerNorm", "RMSNorm"],
)
def test_norms_without_weights_follow(norm: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(6, 16), norm, nn.Linear(16, 3)).eval()
    structure = discover(model, X)
    assert structure.widths == {"0": 16}
    assert apply(model, half_plan(structure, structure.groups), structure)[1].normalized_shape == (8,)


@pytest.mark.parametrize("affine", [True, False])
def test_a_group_norm_of_single_channels_keeps_them_single(affine: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.GroupNorm(16, 16, affine=affine), nn.Conv2d(16, 3, 1)
    ).eval()
    structure = discover(model, torch.randn(2, 3, 4, 4))
    assert structure.widths == {"0": 16}
    norm = apply(model, half_plan(structure, structure.groups), structure)[1]
    assert (norm.num_groups, norm.num_channels) == (8, 8)


def test_unflatten_follows() -> None:
    layers = [nn.Linear(6, 64), nn.Unflatten(1, (16, 2, 2)), nn.ConvTranspose2d(16, 8, 2), nn.Conv2d(8, 3, 1)]
    structure = discover(nn.Sequential(*layers).eval(), X)
    assert structure.widths == {"0": 16, "2": 8}


class Split(nn.Module):
    """Splits a layer's output into unequal parts."""

    def __init__(self, sizes: Any) -> None:
        super().__init__()
        self.sizes = sizes
        self.whole, self.long, self.short = nn.Linear(6, 16), nn.Linear(10, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        long, short = self.whole(x).split(self.sizes or [10, 6], -1)
        return self.long(long) + self.short(short)


def test_unequal_parts_are_cut_one_by_one() -> None:
    model = Split([10, 6]).eval()
    structure = discover(model, X)
    assert structure.widths == {"whole": 10, "whole#2": 6}
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert pruned.sizes == [5, 3]


def test_numbers_written_into_the_code_hold_what_they_count() -> None:
    structure = discover(Split(None).eval(), X)
    assert structure.widths == {}
    assert "split_sizes=[10, 6]" in structure.frozen["whole"]


@pytest.mark.parametrize(
    "make",
    [
        lambda h: h + torch.zeros(h.shape),
        lambda h: h + h.new_zeros(h.shape),
        lambda h: h * torch.ones(h.shape[-1]),
        lambda h: torch.maximum(h, torch.full(h.shape, -0.5)),
    ],
    ids=["zeros", "new_zeros", "ones", "full"],
)
def test_new_tensors_take_the_shape_that_is_left(make: Any) -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(make(self.first(x)))

    assert discover(Made().eval(), X).widths == {"first": 16}


def test_values_that_count_positions_hold_their_units() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x) * torch.arange(16.0)[: self.first.out_features])

    assert discover(Counted().eval(), X).widths == {}
