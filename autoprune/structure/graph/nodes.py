"""Reading nodes of the traced graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.error_site import is_internal

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def operator_name(node: fx.Node) -> str:
    """ATen name without overload and the underscore of the in-place form."""
    packet = getattr(node.target, "overloadpacket", None)
    name = packet.__name__ if packet is not None else str(getattr(node.target, "__name__", node.target))
    return name if name.startswith("_") else name.rstrip("_")


def arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments of an ATen call by schema name, defaults filled in."""
    bound: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if position < len(node.args):
            bound[argument.name] = node.args[position]
        else:
            bound[argument.name] = node.kwargs.get(
                argument.name, argument.default_value if argument.has_default_value() else None
            )
    return bound


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Full shape of a tensor value."""
    return tuple(node.meta["val"].shape)


def tensor_nodes(arguments: Any) -> list[fx.Node]:
    """Nodes with a tensor value among nested arguments, in order."""
    return [
        leaf
        for leaf in leaves(arguments)
        if isinstance(leaf, fx.Node) and isinstance(leaf.meta.get("val"), Tensor)
    ]


def leaves(value: Any) -> Sequence[Any]:
    """What nested lists, tuples and dictionaries hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def site_of(node: fx.Node) -> str:
    """`` in MODULE (FILE:LINE)``: what ran an operator, and the innermost line of the caller's own code.

    What is not known is left out.
    """
    stack = node.meta.get("stack_trace") or ""
    lines = [f" ({file}:{number})" for file, number in _FRAME.findall(stack) if not is_internal(file)]
    modules = list(node.meta.get("nn_module_stack", {}).values())
    inside = f" in {modules[-1][0]}" if modules and modules[-1][0] else ""
    return inside + (lines[-1] if lines else "")
