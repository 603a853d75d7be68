from __future__ import annotations

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune.cost import CostModel, Costs
from autoprune.errors import ModelError, PlanError
from autoprune.structure.groups import Extent, Group, Operation, Shape, Structure

SIDE = 6
FULL = {"first": 8, "second": 5}


class Net(nn.Module):
    """Two convolutions whose outputs are concatenated and read by a linear layer."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, first, 3, padding=1)
        self.norm = nn.BatchNorm2d(first)
        self.b = nn.Conv2d(first, second, 1, bias=False).double()
        self.head = nn.Linear((first + second) * SIDE * SIDE, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.a(x))
        y = self.b(x.double()).float()
        return self.head(torch.cat([x, y], 1).flatten(1))


def extent(fixed: int = 0, **per_group: int) -> Extent:
    return Extent(fixed, tuple(per_group.items()))


def image(channels: Extent) -> Shape:
    return (extent(2), channels, extent(SIDE), extent(SIDE))


@pytest.fixture(scope="module")
def structure() -> Structure:
    first, second, rgb, one, ten = extent(first=1), extent(second=1), extent(3), extent(1), extent(10)
    features = extent(first=SIDE * SIDE, second=SIDE * SIDE)
    tensors: dict[str, Shape] = {
        "a.weight": (first, rgb, extent(3), extent(3)),
        "a.bias": (first,),
        "norm.weight": (first,),
        "norm.bias": (first,),
        "norm.running_mean": (first,),
        "norm.running_var": (first,),
        "norm.num_batches_tracked": (),
        "b.weight": (second, first, one, one),
        "head.weight": (ten, features),
        "head.bias": (ten,),
    }
    return Structure(
        groups=tuple(Group(name, "channels", width, ()) for name, width in FULL.items()),
        frozen={},
        operations=(
            Operation("conv2d", (image(rgb), tensors["a.weight"], tensors["a.bias"]), image(first)),
            Operation("batch_norm", (image(first), *[(first,)] * 4), image(first)),
            Operation("to", (image(first),), image(first)),
            Operation("conv2d", (image(first), tensors["b.weight"]), image(second)),
            Operation("cat", (image(first), image(second)), image(extent(first=1, second=1))),
            Operation("linear", ((extent(2), features), tensors["head.weight"], (ten,)), (extent(2), ten)),
        ),
        tensors=tensors,
        parameters=frozenset(name for name, _ in Net(**FULL).named_parameters()),
    )


@pytest.fixture(scope="module")
def cost_model(structure: Structure) -> CostModel:
    return CostModel.of(structure, Net(**FULL))


def measured(first: int, second: int) -> Costs:
    model = Net(first, second).eval()
    analysis = FlopCountAnalysis(model, torch.rand(2, 3, SIDE, SIDE))
    analysis.unsupported_ops_warnings(False).tracer_warnings("none")
    return Costs(
        flops=int(analysis.total()),
        parameters=sum(p.numel() for p in model.parameters()),
        size=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
    )


@settings(max_examples=15, deadline=None)
@given(first=st.integers(1, FULL["first"]), second=st.integers(1, FULL["second"]))
def test_costs_equal_those_of_the_smaller_model(cost_model: CostModel, first: int, second: int) -> None:
    assert cost_model.costs({"second": second, "first": first}) == measured(first, second)


def test_single_costs_agree_with_all(cost_model: CostModel) -> None:
    costs = cost_model.costs(FULL)
    assert (cost_model.flops(FULL), cost_model.parameters(FULL), cost_model.size(FULL)) == (
        costs.flops,
        costs.parameters,
        costs.size,
    )
    assert all(type(value) is int for value in vars(costs).values())


def test_batch_agrees_with_one_by_one(cost_model: CostModel) -> None:
    widths = np.stack([np.arange(1, 6), np.arange(5, 0, -1)], axis=1)
    batch = cost_model.batch(widths)
    for row, (first, second) in enumerate(widths.tolist()):
        expected = cost_model.costs({"first": first, "second": second})
        assert (batch.flops[row], batch.parameters[row], batch.size[row]) == tuple(vars(expected).values())
    assert batch.flops.dtype == np.int64


def test_an_extent_may_be_written_in_several_ways() -> None:
    group = Group("g", "channels", 9, ())
    shapes = [(Extent(1, (("g", 1), ("g", 1))),), (Extent(1, (("g", 2),)),), (Extent(7, (("g", 0),)),)]
    tensors = {str(i): shape for i, shape in enumerate(shapes)}
    model = nn.ParameterDict({name: torch.zeros(1) for name in tensors})
    compiled = CostModel.of(Structure((group,), {}, (), tensors, frozenset(tensors)), model)
    assert compiled.parameters({"g": 4}) == 9 + 9 + 7
    assert compiled.coefficients.shape == (3, 2)


def test_large_counts_are_exact() -> None:
    width = 2**20 - 1
    sides = (extent(g=1), extent(g=1), extent(g=1))
    structure = Structure((Group("g", "channels", width, ()),), {}, (), {"w": sides}, frozenset({"w"}))
    compiled = CostModel.of(structure, nn.ParameterDict({"w": torch.zeros(1)}))
    assert compiled.parameters({"g": width}) == width**3
    assert compiled.size({"g": width}) == 4 * width**3


def test_counts_beyond_64_bits_are_refused() -> None:
    sides = (extent(g=1),) * 4
    structure = Structure((Group("g", "channels", 2**20, ()),), {}, (), {"w": sides}, frozenset({"w"}))
    with pytest.raises(ModelError, match="64 bits"):
        CostModel.of(structure, nn.ParameterDict({"w": torch.zeros(1)}))


def test_another_model_is_refused(structure: Structure) -> None:
    with pytest.raises(ModelError, match=r"a\.weight"):
        CostModel.of(structure, nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"first": 4}, "second"),
        ({"first": 4, "second": 2, "third": 1}, "third"),
        ({"first": 4, "other": 2}, "other"),
        ({"first": 9, "second": 2}, "group first is out of range: give one from 0 to 8"),
        ({"first": 4, "second": -1}, "group second"),
        ({"first": 4.0, "second": 2.5}, "whole numbers"),
    ],
)
def test_widths_that_do_not_fit_are_refused(
    cost_model: CostModel, widths: dict[str, int], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        cost_model.costs(widths)


@pytest.mark.parametrize(
    "widths",
    [np.ones(2, dtype=np.int64), np.ones((3, 1), dtype=np.int64), np.full((3, 2), 9), np.ones((3, 2))],
)
def test_batches_that_do_not_fit_are_refused(cost_model: CostModel, widths: np.ndarray) -> None:
    with pytest.raises(PlanError):
        cost_model.batch(widths)
