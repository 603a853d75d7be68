"""Normalisations scale each unit; some also compute statistics over the units."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, shape_of
from autoprune.structure.propagation.labels import varying
from autoprune.structure.propagation.propagate import Propagation, rule
from autoprune.structure.propagation.rules.contracting import units_along


def _carry(state: Propagation, node: fx.Node, tensors: list[Any], labels: Tensor, axis: int) -> Any:
    """Tie one-dimensional parameters and buffers to the units they scale; give the result's labels."""
    for tensor in tensors:
        if tensor is None:
            continue
        name = state.parameter(tensor)
        if name is None:
            return state.opaque(node, "the weight of this normalisation is computed")
        state.space.join(labels, state.axis(name, 0, "pass"))
    shape = [1] * len(shape_of(node))
    shape[axis] = -1
    return state.space.settle(labels.reshape(shape))


@rule("batch_norm", "instance_norm")
def batch_norm(state: Propagation, node: fx.Node) -> Any:
    """Statistics of each channel alone: exact under a cut."""
    bound = arguments(node)
    labels = units_along(state, bound["input"], 1, "a normalisation runs along another axis than the units")
    tensors = [bound[key] for key in ("weight", "bias", "running_mean", "running_var")]
    return _carry(state, node, tensors, labels, 1)


@rule("group_norm")
def group_norm(state: Propagation, node: fx.Node) -> Any:
    """Statistics over groups of channels: every group loses the same positions."""
    bound = arguments(node)
    labels = units_along(state, bound["input"], 1, "a normalisation runs along another axis than the units")
    positions = labels.reshape(int(bound["num_groups"]), -1)
    if positions.shape[1] > 1:
        state.space.join(positions, positions[:1])
        state.note_statistic(node, labels, 1)
    return _carry(state, node, [bound["weight"], bound["bias"]], labels, 1)


@rule("layer_norm", "rms_norm")
def layer_norm(state: Propagation, node: fx.Node) -> Any:
    """Statistics over the last axis, which is where the units lie."""
    bound = arguments(node)
    if len(bound["normalized_shape"]) != 1:
        return state.opaque(node, "a layer normalisation over several axes")
    labels = state.open_labels(bound["input"])
    beside = set(varying(labels)) - {labels.dim() - 1}
    if beside:
        # The units lie beside the normalised axis (heads, say): each is normalised by itself.
        return state.space.keep(labels, beside)
    labels = units_along(state, bound["input"], -1, "a normalisation runs along another axis than the units")
    state.note_statistic(node, labels, len(shape_of(node)) - 1)
    return _carry(state, node, [bound["weight"], bound.get("bias")], labels, -1)
