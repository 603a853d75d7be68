"""Code under ``torch.no_grad()`` or ``torch.autocast`` is exported as a graph of its own: inline it."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx
from torch.fx.node import map_arg

OPERANDS_AFTER = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}
"""Operators that run a graph under a context -> position of that graph among their arguments."""


def inline_contexts(module: fx.GraphModule) -> None:
    """Replace every operator that runs a graph under a context by the graph's own nodes.

    Neither context changes which units depend on which.
    """
    pending = _contexts(module.graph)
    while pending:
        for node in pending:
            _inline(module, node)
        pending = _contexts(module.graph)


def _contexts(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if getattr(node.target, "__name__", "") in OPERANDS_AFTER]


def _inline(module: fx.GraphModule, node: fx.Node) -> None:
    position = OPERANDS_AFTER[node.target.__name__]  # type: ignore[union-attr]
    getter: Any = node.args[position]
    inner = module.get_submodule(getter.target)
    operands = iter(node.args[position + 1 :])
    values: dict[fx.Node, Any] = {}
    for part in inner.graph.nodes:  # type: ignore[union-attr]
        if part.op == "placeholder":
            values[part] = next(operands)
        elif part.op == "output":
            _hand_out(node, map_arg(part.args[0], values.__getitem__))
        else:
            with module.graph.inserting_before(node):
                values[part] = module.graph.node_copy(part, values.__getitem__)
            if part.op == "get_attr":
                values[part].target = f"{getter.target}.{part.target}"
    module.graph.erase_node(node)


def _hand_out(node: fx.Node, results: Any) -> None:
    """Let those that read one of an operator's results read it where it is made."""
    for user in list(node.users):
        assert user.target is operator.getitem
        user.replace_all_uses_with(results[user.args[1]])
        user.graph.erase_node(user)
