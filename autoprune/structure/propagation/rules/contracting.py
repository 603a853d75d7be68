"""Contracting operators tie what enters to the weight's input axis; what leaves gets fresh labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name, shape_of
from autoprune.structure.propagation.labels import along, varying
from autoprune.structure.propagation.propagate import Propagation, rule
from autoprune.structure.propagation.rules.sections import ParameterRows, rows_of


def units_along(state: Propagation, node: fx.Node, axis: int, reason: str) -> Tensor:
    """Labels ``[size]`` of a value along one axis; units that lie on another axis only are frozen."""
    labels, size = state.open_labels(node), shape_of(node)[axis]
    if axis % labels.dim() in varying(labels):
        labels = state.space.keep(labels, [axis % labels.dim()])
    if set(varying(labels)) - {axis % labels.dim()}:
        state.space.freeze(labels, reason)
        return state.space.fixed((), reason).expand(size)
    return along(labels, axis, size)


def _own_parameters(state: Propagation, weight: Any, bias: Any) -> tuple[str, str | None] | None:
    """State-dict names of weight and bias, or None when one of them is computed (and not row by row)."""
    own = state.standardised(weight)
    names = state.parameter(weight) if own is None else own.parameter, state.parameter(bias)
    if names[0] is None or (bias is not None and names[1] is None):
        return None
    return names[0], names[1]


def _on_axis(labels: Tensor, rank: int, axis: int) -> Tensor:
    shape = [1] * rank
    shape[axis] = -1
    return labels.reshape(shape)


@rule("linear")
def linear(state: Propagation, node: fx.Node) -> Any:
    """``x @ weight.T + bias`` over the last axis."""
    bound = arguments(node)
    transposed, rows = state.turned(bound["weight"]), _rows(state, bound["weight"])
    if transposed is None and rows is None:
        return state.opaque(node, "the weight of this layer is computed")
    entering = units_along(state, bound["input"], -1, "a linear layer runs along another axis than the units")
    if transposed is not None:
        state.space.join(entering, state.axis(transposed, 0, "in"))
        leaving = state.axis(transposed, 1, "out")
    elif rows is not None:
        state.space.join(entering, state.axis(rows.parameter, 1, "in"))
        leaving = state.axis(rows.parameter, 0, "out")[rows.start : rows.stop]
        _tie_gains(state, bound["weight"], leaving, entering)
    if bound["bias"] is not None:
        state.space.join(leaving, units_along(state, bound["bias"], 0, "a bias"))
    return state.space.settle(_on_axis(leaving, len(shape_of(node)), -1))


@rule("embedding", "embedding_bag")
def embedding(state: Propagation, node: fx.Node) -> Any:
    """Rows are looked up by value and stay; columns are the units."""
    bound = arguments(node)
    weight = state.parameter(bound["weight"])
    if weight is None:
        return state.opaque(node, "the weight of this layer is computed")
    state.space.freeze(state.axis(weight, 0, "pass"), "rows of an embedding are looked up by value")
    columns = state.axis(weight, 1, "out")
    if operator_name(node) == "embedding":
        return state.space.settle(_on_axis(columns, len(shape_of(node)), -1))
    bookkeeping = [state.space.fixed(part.shape, "lookups of an embedding") for part in node.meta["val"][1:]]
    return (state.space.settle(_on_axis(columns, 2, -1)), *bookkeeping)


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(state: Propagation, node: fx.Node) -> Any:
    """Plain, grouped, depthwise and transposed convolutions; the units are channels."""
    bound = arguments(node)
    names = _own_parameters(state, bound["weight"], bound["bias"])
    rank = len(shape_of(bound["weight"]))
    if names is None or len(shape_of(node)) != rank:
        return state.opaque(node, "the weight of this layer is computed or its input has no batch axis")
    weight, bias = names
    entering = units_along(state, bound["input"], 1, "a convolution slides along the axis of the units")
    transposed = "transpose" in str(node.target)
    connect = _transposed if transposed else _forward
    leaving = connect(state, weight, entering, int(bound["groups"]), shape_of(node)[1])
    _tie_gains(state, bound["weight"], *((entering, leaving) if transposed else (leaving, entering)))
    if bias is not None:
        state.space.join(leaving, state.axis(bias, 0, "pass"))
    return state.space.settle(_on_axis(leaving, rank, 1))


def _rows(state: Propagation, weight: fx.Node) -> ParameterRows | None:
    own = state.standardised(weight)
    return rows_of(state, weight) if own is None else ParameterRows(own.parameter, 0, shape_of(weight)[0])


def _tie_gains(state: Propagation, weight: fx.Node, rows: Tensor, columns: Tensor) -> None:
    """A standardised weight has a gain a row, and statistics over its columns."""
    own = state.standardised(weight)
    if own is None:
        return
    for gain in own.gains:
        state.space.join(rows, state.axis(gain, 0, "pass"))
    if shape_of(weight)[1] > 1:
        state.space.mark_inexact(columns)


def _forward(state: Propagation, weight: str, entering: Tensor, groups: int, channels: int) -> Tensor:
    """Weight ``[out, in / groups, ...]``."""
    depthwise = groups > 1 and state.trace.shapes[weight][1] == 1
    if depthwise:
        leaving = state.axis(weight, 0, "pass")
        state.space.join(leaving.view(groups, -1), entering.view(groups, 1))
        return leaving
    leaving = state.axis(weight, 0, "out")
    state.space.join(entering.reshape(groups, -1), state.axis(weight, 1, "in"))
    _tie_groups(state, leaving, groups)
    return leaving


def _transposed(state: Propagation, weight: str, entering: Tensor, groups: int, channels: int) -> Tensor:
    """Weight ``[in, out / groups, ...]``."""
    if groups > 1 and state.trace.shapes[weight][1] == 1 and len(entering) == groups:
        state.space.join(entering, state.axis(weight, 0, "pass"))
        return entering
    state.space.join(entering, state.axis(weight, 0, "in"))
    _tie_groups(state, entering, groups)
    per_group = state.axis(weight, 1, "out")
    return torch.cat([per_group] * groups)


def _tie_groups(state: Propagation, labels: Tensor, groups: int) -> None:
    """Every group keeps as many channels as the others: the same positions leave each of them."""
    if groups > 1:
        positions = labels.reshape(groups, -1)
        state.space.join(positions, positions[:1])
