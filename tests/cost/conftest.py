from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from autoprune.structure.groups import Extent, Operation, Shape, Structure


def constant(shape: tuple[int, ...]) -> Shape:
    return tuple(Extent(length) for length in shape)


def _operation(node: Node) -> Operation:
    tensors: list[Tensor] = []

    def collect(argument: Node) -> Node:
        value = argument.meta["val"]
        if isinstance(value, Tensor):
            tensors.append(value)
        return argument

    torch.fx.map_arg((node.args, node.kwargs), collect)
    value = node.meta["val"]
    first = value[0] if isinstance(value, (tuple, list)) else value
    kind = node.target.overloadpacket.__name__ if hasattr(node.target, "overloadpacket") else "getitem"
    return Operation(
        kind.removesuffix("_"),
        tuple(constant(tuple(tensor.shape)) for tensor in tensors),
        constant(tuple(first.shape)),
        equation=str(node.args[0]) if kind == "einsum" else "",
    )


@pytest.fixture
def traced() -> Callable[[nn.Module, tuple[Tensor, ...]], Structure]:
    """A structure without groups: the operators of the exported graph with constant shapes."""

    def trace(model: nn.Module, inputs: tuple[Tensor, ...]) -> Structure:
        graph = torch.export.export(model.eval(), inputs, strict=False).graph
        return Structure(
            groups=(),
            frozen={},
            operations=tuple(_operation(node) for node in graph.nodes if node.op == "call_function"),
            tensors={name: constant(tuple(value.shape)) for name, value in model.state_dict().items()},
            parameters=frozenset(name for name, _ in model.named_parameters()),
        )

    return trace
