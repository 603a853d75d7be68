"""Matrices that are read transposed, as by the decoder of an autoencoder with tied weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from autoprune.structure.graph.nodes import operator_name, tensor_nodes

TURNING = frozenset({"t", "transpose", "permute", "numpy_T", "swapaxes", "swapdims", "adjoint"})
PRODUCTS = frozenset({"matmul", "mm"})


def turned(node: fx.Node, parameter: Callable[[fx.Node], str | None]) -> str | None:
    """State-dict name of the parameter that a node gives transposed to products with activations only.

    Args:
        node: any node of a traced graph.
        parameter: name of the parameter that a node stands for, or None.
    """
    if node.op != "call_function" or operator_name(node) not in TURNING:
        return None
    source = tensor_nodes(node.args)[0]
    name, value, before = parameter(source), node.meta["val"], source.meta["val"]
    if name is None or value.dim() != 2 or value.stride() != before.stride()[::-1]:
        return None
    return name if all(_is_product(user, node, parameter) for user in node.users) else None


def _is_product(user: fx.Node, node: fx.Node, parameter: Callable[[fx.Node], str | None]) -> bool:
    if user.op != "call_function":
        return False
    if operator_name(user) == "linear":
        return user.args[1] is node and user.args[0] is not node
    operands = tensor_nodes(user.args)
    others = [operand for operand in operands if operand is not node]
    return operator_name(user) in PRODUCTS and len(others) == 1 and parameter(others[0]) is None
