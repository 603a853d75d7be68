"""Pointwise operators join the labels of their operands."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, shape_of, tensor_nodes
from autoprune.structure.propagation.labels import LabelSpace, compact, varying
from autoprune.structure.propagation.propagate import Propagation, rule

MOST_ELEMENTS = 1_000_000
"""A new tensor gets a label an element; beyond this size its shape counts as fixed."""
UNARY = """
    _conj _to_copy abs absolute alias alpha_dropout angle bernoulli celu clamp clamp_max clamp_min clone
    conj conj_physical contiguous cos detach dropout elu empty_like erf exp expm1 feature_dropout fill float
    full_like gelu hardshrink hardsigmoid hardswish hardtanh imag leaky_relu lift_fresh_copy log log1p
    log_sigmoid logical_not mish nan_to_num neg ones_like rand_like randn_like real reciprocal relu relu6
    resolve_conj resolve_neg round rrelu rsqrt selu sgn sigmoid sign silu sin softplus softshrink softsign
    sqrt square tan tanh threshold to type_as zero zeros_like
"""
SEVERAL = """
    __and__ __or__ __xor__ add add_relu addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor complex
    copy div eq floor_divide fmod ge gt le lerp logical_and logical_or lt masked_fill maximum minimum mul
    multiply ne polar pow remainder rsub sub subtract true_divide where
"""


@rule(*UNARY.split(), *SEVERAL.split())
def pointwise(state: Propagation, node: fx.Node) -> Tensor:
    """The result carries the labels of its operands, joined position by position."""
    shape = shape_of(node)
    operands = tensor_nodes((node.args, node.kwargs))
    if operator_reads_first_only(node):
        operands = operands[:1]
    if not operands:
        return state.space.fixed(shape, "tied to a constant of fixed shape")
    # Where units lie on different axes the first ones stay free: those of layers, not of masks and tables.
    operands.sort(key=state.is_constant)
    parts = [(state.open_labels(operand), shape_of(operand)) for operand in operands]
    free = sum(not state.is_constant(operand) for operand in operands)
    if 0 < free < len(operands):
        result = join_broadcast(state.space, parts[:free], shape)
        axes = varying(result)
        if len(axes) > 1 and any(varying(labels) for labels, _ in parts[free:]):
            # A table has units on any of its axes: it must not decide where those of an activation are.
            join = partial(join_broadcast, state.space, [(result, shape), *parts[free:]], shape)
            state.space.later(result, join)
            return result
    return join_broadcast(state.space, parts, shape)


def operator_reads_first_only(node: fx.Node) -> bool:
    """Operators whose other tensors give a type or a scalar, not values."""
    return getattr(node.target, "__name__", "").startswith(("fill", "type_as"))


def join_broadcast(
    space: LabelSpace, operands: list[tuple[Tensor, tuple[int, ...]]], shape: tuple[int, ...]
) -> Tensor:
    """Join operands of a broadcasting operator and return the labels of its result.

    An operand of size 1 along an axis serves every position there: it is needed as long as one of them
    stays, so nothing is joined across an axis on which the other operand's units lie.
    """
    aligned = []
    for labels, size in operands:
        missing = len(shape) - len(size)
        aligned.append((labels.reshape((1,) * missing + labels.shape), (1,) * missing + size))
    result, extent = aligned[0]
    for labels, size in aligned[1:]:
        result, labels = space.settle(result), space.settle(labels)
        result, labels = (
            _on_common_axes(space, result, labels, size),
            _on_common_axes(space, labels, result, extent),
        )
        if _serves_all(size, extent, varying(result)) or _serves_all(extent, size, varying(labels)):
            if varying(result) and varying(labels):
                space.freeze(labels, "combined with units of another axis")
            elif varying(labels):
                result = labels
        else:
            space.join(result, labels)
            if len(varying(labels)) > len(varying(result)):
                result = labels
        extent = tuple(max(a, b) for a, b in zip(extent, size, strict=True))
    return compact(space.find(result))


def _on_common_axes(space: LabelSpace, labels: Tensor, other: Tensor, other_size: tuple[int, ...]) -> Tensor:
    """Labels that change along several axes, on those where the other operand decides for them.

    Units stay on axes where the other operand has units too; where it has none, axes along which it
    has a size of its own cannot lose elements.
    """
    axes = varying(labels)
    if len(axes) < 2:
        return labels
    common = [axis for axis in axes if axis in varying(other)]
    if not varying(other):
        common = [axis for axis in axes if other_size[axis] == 1]
    return space.keep(labels, common) if common else labels


def _serves_all(size: tuple[int, ...], other: tuple[int, ...], axes: list[int]) -> bool:
    """Whether a tensor of `size` is broadcast along one of the axes on which the other has units."""
    return any(size[axis] == 1 and other[axis] > 1 for axis in axes)


@rule("prelu")
def prelu(state: Propagation, node: fx.Node) -> Tensor:
    """A slope a channel (axis 1), or one slope for all."""
    bound = arguments(node)
    labels, weight = state.labels(bound["self"]), state.parameter(bound["weight"])
    if weight is not None and state.trace.shapes[weight][0] > 1:
        shape = [1] * labels.dim()
        shape[1] = -1
        state.space.join(labels, state.axis(weight, 0, "pass").reshape(shape))
    return state.space.settle(labels)


@rule("zeros", "ones", "full", "empty", "arange", "scalar_tensor", "rand", "randn", "eye", "linspace")
@rule("new_zeros", "new_ones", "new_full", "new_empty", "lift_fresh")
def factory(state: Propagation, node: fx.Node) -> Tensor:
    """A new tensor, of a shape that code may take from an activation; the proof finds out whether it does."""
    shape = shape_of(node)
    if math.prod(shape) > MOST_ELEMENTS:
        return state.space.fixed(shape, "tied to a constant of fixed shape")
    return state.space.leave_open(state.space.fresh(shape))
