"""Moving operators only rearrange elements: they are run on the labels themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from autoprune.structure.graph.nodes import arguments, leaves, operator_name, shape_of
from autoprune.structure.propagation.labels import compact, varying
from autoprune.structure.propagation.propagate import Propagation, rule
from autoprune.structure.propagation.rules.sections import (
    CUTTING_OUT,
    SPLITTING,
    cut_out,
    tie_sections,
    weight_sections,
)

REARRANGING = """
    adjoint atleast_2d broadcast_to channel_shuffle chunk diagonal expand
    expand_as flatten flip mH mT hstack index index_select movedim narrow numpy_T permute pixel_shuffle
    pixel_unshuffle ravel repeat repeat_interleave reshape reshape_as roll rot90 select slice split
    split_with_sizes squeeze swapaxes swapdims t tensor_split tile transpose unbind unflatten
    unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze view view_as vstack
"""
EXPANDING = {"broadcast_to", "expand", "expand_as"}
BY_POSITION = {"slice", "select", "index", "index_select", "narrow", "roll", "unbind", "diagonal", "unfold"}


@rule(*REARRANGING.split())
def move(state: Propagation, node: fx.Node) -> Any:
    """Run the operator on labels, after tying what it would pull apart."""
    kind = operator_name(node)
    if state.turned(node) is not None:
        return state.space.fixed(shape_of(node), "read through its parameter")
    weights = weight_sections(state, node)
    if weights is not None:
        return weights
    if kind in SPLITTING:
        _tie_parts(state, node)
    elif kind in BY_POSITION:
        _hold_positions(state, node)
    result = _expanded(state, node) if kind in EXPANDING else None
    result = _run(state, node) if result is None else result
    parts = result if isinstance(result, list | tuple) else (result,)
    if [part.shape for part in parts] != [part.shape for part in leaves(node.meta["val"])]:
        return state.opaque(node, f"the shape of {kind} depends on values")
    moved = tuple(state.space.leave_open(compact(part)) for part in parts)
    return moved if isinstance(result, list | tuple) else moved[0]


@rule("pad", "constant_pad_nd")
def pad(state: Propagation, node: fx.Node) -> Tensor:
    """Zeros beside the units of another axis leave with their row; along the units they always stay."""
    bound = arguments(node)
    labels, shape = state.labels(bound["self"]), shape_of(bound["self"])
    amounts = bound["pad"]
    touched = [len(shape) - 1 - i // 2 for i, amount in enumerate(amounts) if amount != 0]
    if not set(varying(labels)) & set(touched):
        return labels
    if bound.get("mode", "constant") != "constant":
        state.space.freeze(labels, f"padded by {bound['mode']}")
    padded = torch.constant_pad_nd(labels.expand(shape), bound["pad"], int(state.space.padding))
    return state.space.straighten(compact(padded))


def _expanded(state: Propagation, node: fx.Node) -> Tensor | None:
    """Labels of a statistic over units, repeated along axes of size 1: any position may go there.

    None for every other value. ``functional.normalize`` divides by a norm that is expanded so.
    """
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if state.parameter(source) is not None or not state.space.is_statistic(state.open_labels(source)):
        return None
    shape = shape_of(node)
    before = (1,) * (len(shape) - len(shape_of(source))) + shape_of(source)
    sizes = [size if old == 1 else 1 for size, old in zip(shape, before, strict=True)]
    return state.space.fresh(sizes).expand(shape)


def _run(state: Propagation, node: fx.Node) -> Any:
    def full(argument: fx.Node) -> Any:
        value = argument.meta.get("val")
        if not isinstance(value, Tensor):
            return value
        if _is_index(node, argument):
            # Units do not change along an indexed axis by now, so any position gives the same labels.
            return torch.zeros(value.shape, dtype=torch.int64)
        return state.open_labels(argument).expand(value.shape).contiguous()

    target: Any = node.target
    return target(*map_arg(node.args, full), **map_arg(node.kwargs, full))


def _is_index(node: fx.Node, argument: fx.Node) -> bool:
    bound = arguments(node)
    indices = bound.get("indices") or bound.get("index") or ()
    return argument in (indices if isinstance(indices, list | tuple) else (indices,))


def _tie_parts(state: Propagation, node: fx.Node) -> None:
    """Equal sections of an axis stay equal only when they lose the same positions.

    Unequal ones are units of their own, where the code takes their lengths from what follows a cut.
    """
    bound = arguments(node)
    labels, rank = state.open_labels(bound["self"]), len(shape_of(bound["self"]))
    axis = bound.get("dim", 0) % rank
    parts = [part.shape[axis] for part in node.meta["val"]]
    if axis not in varying(labels) or len(parts) == 1:
        return
    tie_sections(state, labels, axis, parts)


def _hold_positions(state: Propagation, node: fx.Node) -> None:
    """Positions written into the code would point elsewhere after a cut along their axis."""
    bound = arguments(node)
    source = bound["self"]
    labels, shape = state.open_labels(source), shape_of(source)
    if tuple(leaves(node.meta["val"])[0].shape) == shape and operator_name(node) == "slice":
        return
    touched = {axis % len(shape) for axis in _indexed_axes(bound, len(shape))} & set(varying(labels))
    if touched == set(varying(labels)):
        where = cut_out(node) if operator_name(node) in CUTTING_OUT and touched else None
        if where and tie_sections(state, labels, *where):
            return
        if touched:
            state.space.freeze(labels, "taken apart at fixed positions")
        return
    for axis in touched:
        state.space.join(labels, labels.narrow(axis, 0, 1))


def _indexed_axes(bound: dict[str, Any], rank: int) -> list[int]:
    if "indices" in bound:
        return [axis for axis, index in enumerate(bound["indices"]) if index is not None]
    if "dims" in bound:
        return list(bound["dims"]) or list(range(rank))
    named = [bound[key] for key in ("dim", "dimension", "dim1", "dim2") if isinstance(bound.get(key), int)]
    return named or [0]
