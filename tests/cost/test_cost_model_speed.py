from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autoprune.cost import CostModel
from autoprune.structure.groups import Extent, Group, Operation, Structure

DEPTH = 60


def dense_network() -> tuple[Structure, nn.Module]:
    """Every layer reads all layers before it, as in DenseNet."""
    names = [f"layer{i}" for i in range(DEPTH)]
    side, kernel = Extent(14), Extent(3)
    tensors, operations = {}, []
    for i, name in enumerate(names):
        read = Extent(3, tuple((before, 1) for before in names[:i]))
        made = Extent(0, ((name, 1),))
        tensors[f"{name}_w"] = (made, read, kernel, kernel)
        shapes = ((Extent(1), read, side, side), tensors[f"{name}_w"])
        operations.append(Operation("conv2d", shapes, (Extent(1), made, side, side)))
    groups = tuple(Group(name, "channels", 32, ()) for name in names)
    structure = Structure(groups, {}, tuple(operations), tensors, frozenset(tensors))
    return structure, nn.ParameterDict({name: torch.zeros(1) for name in tensors})


@pytest.mark.benchmark_suite
def test_costs_of_one_plan(benchmark: Any) -> None:
    structure, model = dense_network()
    compiled = CostModel.of(structure, model)
    costs = benchmark(compiled.costs, structure.widths)
    assert costs.flops == costs.parameters * 14 * 14


@pytest.mark.benchmark_suite
def test_costs_of_a_thousand_plans(benchmark: Any) -> None:
    structure, model = dense_network()
    compiled = CostModel.of(structure, model)
    widths = compiled.full.repeat(1000).reshape(DEPTH, 1000).T
    costs = benchmark(compiled.batch, widths)
    assert (costs.flops == costs.parameters * 14 * 14).all()
