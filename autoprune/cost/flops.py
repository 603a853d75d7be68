"""FLOPs of traced operators as closed forms over group widths.

Counted as ``fvcore.nn.FlopCountAnalysis`` counts them by default on a model in eval mode: one multiply-add
is one FLOP, pointwise arithmetic is not counted. Operators that compute something but have no formula are
reported by :func:`uncounted`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from autoprune.structure.groups import Operation, Shape, Structure


@dataclass(frozen=True)
class Term:
    """``coefficient`` times the product of ``extents``."""

    coefficient: int
    extents: Shape


def _without_channels(activation: Shape, weight: Shape) -> Shape:
    """Batch and spatial axes of a convolution's input or output, whether it has a batch axis or not."""
    spatial = len(weight) - 2
    return activation[: -(spatial + 1)] + activation[len(activation) - spatial :]


def _convolution(operation: Operation) -> Term:
    # Axis 1 of the weight is channels per group already, so grouped convolutions need no case of their own.
    weight = operation.inputs[1]
    return Term(1, _without_channels(operation.output, weight) + weight)


def _transposed_convolution(operation: Operation) -> Term:
    activation, weight = operation.inputs[:2]
    return Term(1, _without_channels(activation, weight) + weight)


def _linear(operation: Operation) -> Term:
    activation, weight = operation.inputs[:2]
    return Term(1, activation + weight[:1])


def _product(left: Shape, right: Shape) -> Term:
    # Only the left operand's batch axes count, as in fvcore, also where the right one broadcasts over more.
    return Term(1, left + (right[-1:] if len(right) > 1 else ()))


def _matmul(operation: Operation) -> Term:
    return _product(operation.inputs[0], operation.inputs[1])


def _addmm(operation: Operation) -> Term:
    return _product(operation.inputs[1], operation.inputs[2])


def _batch_norm(operation: Operation) -> Term:
    """In eval mode a scale and a shift, or with no running statistics a normalisation over the batch.

    An operation does not say which optional tensors are there. Three tensors are read as no affine parameters
    (with them but without running statistics there would be three as well, which is rarer).
    """
    tensors = len(operation.inputs)
    if tensors == 1:
        return Term(4, operation.inputs[0])
    return Term(1 if tensors == 3 else 2, operation.inputs[0])


def _norm(operation: Operation) -> Term:
    affine = len(operation.inputs) > 1
    return Term(5 if affine else 4, operation.inputs[0])


def _once_per_input(operation: Operation) -> Term:
    return Term(1, operation.inputs[0])


def _once_per_output(operation: Operation) -> Term:
    return Term(1, operation.output)


def _four_per_output(operation: Operation) -> Term:
    return Term(4, operation.output)


_FORMULAS: dict[str, Callable[[Operation], Term]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "conv_transpose3d": _transposed_convolution,
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": _addmm,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "instance_norm": _norm,
    "adaptive_avg_pool2d": _once_per_input,
    "upsample_nearest2d": _once_per_output,
    "upsample_bilinear2d": _four_per_output,
    "grid_sampler": _four_per_output,
}

_MOVING = """
    alias broadcast_to cat channel_shuffle chunk clone concat constant_pad_nd contiguous copy detach
    expand expand_as flatten flip gather getitem hsplit index index_put index_select movedim moveaxis
    narrow pad permute pixel_shuffle pixel_unshuffle repeat repeat_interleave reshape roll select
    select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t
    tensor_split tile to transpose type_as unbind unflatten unfold unsqueeze view view_as vsplit
    _to_copy _unsafe_view
"""
_CREATING = """
    arange empty empty_like eye fill full full_like lift_fresh_copy linspace new_empty new_full new_ones
    new_zeros ones ones_like scalar_tensor zero zeros zeros_like
"""
_COMPARING = """
    bitwise_and bitwise_not bitwise_or clamp eq floor floor_divide ge gt le logical_and logical_not
    logical_or lt masked_fill max ne nonzero relu remainder where
"""
# Identities in eval mode, and checks that a traced graph carries along.
_NEUTRAL = """
    alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout feature_dropout identity
    item sym_size _assert_async _assert_scalar _assert_tensor_metadata
"""

FREE = frozenset((_MOVING + _CREATING + _COMPARING + _NEUTRAL).split())
"""Kinds without arithmetic worth reporting: they move, create or compare numbers, or do nothing."""


def flop_term(operation: Operation) -> Term | None:
    """FLOPs of one operation, or None for a kind that is free or has no formula."""
    formula = _FORMULAS.get(operation.kind)
    return formula(operation) if formula else None


def flop_terms(structure: Structure) -> tuple[Term, ...]:
    """FLOPs of a model: the sum of these terms."""
    terms = (flop_term(operation) for operation in structure.operations)
    return tuple(term for term in terms if term is not None)


def uncounted(structure: Structure) -> dict[str, int]:
    """Kinds of operators that compute something but are not in the FLOPs, with how often they occur."""
    kinds = (operation.kind for operation in structure.operations)
    return dict(Counter(kind for kind in kinds if kind not in _FORMULAS and kind not in FREE))
