"""Tensors set side by side along an old axis or a new one."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from autoprune.structure.graph.nodes import operator_name, shape_of, tensor_nodes
from autoprune.structure.propagation.labels import compact, varying
from autoprune.structure.propagation.propagate import Propagation, rule, rule_for
from autoprune.structure.propagation.rules.pointwise import factory


@rule("cat", "concat", "concatenate")
def concatenation(state: Propagation, node: fx.Node) -> Tensor:
    """Units beside the axis are the same in all parts; along it each part keeps its own."""
    parts = tensor_nodes(node.args)
    rank = len(shape_of(node))
    # Beside other parts an old-style empty vector may stand, whatever its rank.
    parts = [part for part in parts if len(shape_of(part)) == rank]
    axis = int(node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)) % rank  # type: ignore[arg-type]
    labels = _same_beside(state, parts, axis)
    pieces = [part.expand(shape_of(of)) for part, of in zip(labels, parts, strict=True)]
    return state.space.leave_open(compact(torch.cat(pieces, axis)))


@rule("stack")
def stacking(state: Propagation, node: fx.Node) -> Tensor:
    """A new axis, beside which the units are the same in all parts."""
    parts = tensor_nodes(node.args)
    axis = int(node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0))  # type: ignore[arg-type]
    labels = _same_beside(state, parts, None)
    pieces = [part.expand(shape_of(of)) for part, of in zip(labels, parts, strict=True)]
    return state.space.leave_open(compact(torch.stack(pieces, axis)))


def _same_beside(state: Propagation, parts: list[fx.Node], axis: int | None) -> list[Tensor]:
    """Labels of the parts, with their units joined where they lie beside the axis alone.

    New tensors of zeros or ones are not tied: where their size follows the module's the cut is right, and
    where it is a number in the code the proof finds out.
    """
    labels = [state.open_labels(part) for part in parts]
    beside = [part for part in labels if varying(part) and axis not in varying(part)]
    if not beside or any(axis in varying(part) for part in labels):
        return labels
    made = [part.op == "call_function" and rule_for(operator_name(part)) is factory for part in parts]
    for part, new in zip(labels, made, strict=True):
        if not new:
            state.space.join(part, beside[0])
    return [beside[0] if new else part for part, new in zip(labels, made, strict=True)]
