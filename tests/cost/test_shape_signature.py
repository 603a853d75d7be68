from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import autoprune
from autoprune.cost import shape_signature
from autoprune.structure import Plan, discover


class Net(nn.Module):
    def __init__(self, width: int = 8, stride: int = 1, heads: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=stride)
        self.heads = heads
        self.block = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.conv(x)).mean((2, 3)))


def test_values_do_not_count() -> None:
    one = Net()
    other = Net().eval()
    assert shape_signature(one) == shape_signature(other)


def test_plans_that_keep_as_many_other_units_are_one() -> None:
    model, inputs = Net().eval(), (torch.rand(1, 3, 8, 8),)
    structure = discover(model, inputs)
    (group,) = [group.name for group in structure.groups if group.name == "conv"]
    cuts = [autoprune.apply(model, Plan({group: keep}), structure) for keep in ((0, 1, 2), (4, 5, 7), (0, 1))]
    signatures = [shape_signature(cut) for cut in cuts]
    assert signatures[0] == signatures[1] != signatures[2]


@pytest.mark.parametrize(
    "other", [Net(width=7), Net(stride=2), Net(heads=4)], ids=["width", "stride", "heads"]
)
def test_shapes_and_attributes_count(other: Net) -> None:
    assert shape_signature(other) != shape_signature(Net())


def test_modules_that_were_taken_out_count() -> None:
    model = Net()
    shallow = copy.deepcopy(model)
    shallow.block[1] = nn.Identity()
    assert shape_signature(shallow) != shape_signature(model)
    assert shape_signature(model.half()) != shape_signature(Net())
