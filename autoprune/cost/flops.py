"""FLOPs of traced operators as closed forms over group widths.

Counted as ``fvcore.nn.FlopCountAnalysis`` counts them by default on a model in eval mode: one multiply-add
is one FLOP, pointwise arithmetic is not counted. Of what fvcore leaves out, two products are counted in the
same way: ``scaled_dot_product_attention`` (scores, and scores with values, without mask and softmax), as
fvcore counts an attention that is written out, and ``baddbmm``. Of recurrent layers the matrix products of
all steps are counted, as fvcore counts them written out with linear layers. Operators that compute something
but have no formula are reported by :func:`uncounted`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from autoprune.structure.groups import Extent, Operation, Shape, Structure


@dataclass(frozen=True)
class Term:
    """``coefficient`` times the product of ``extents``."""

    coefficient: int
    extents: Shape

    def within(self, block: str | None) -> Term:
        """The same term multiplied by the width of a block; as it is where there is none."""
        return Term(self.coefficient, (*self.extents, Extent(0, ((block, 1),)))) if block else self


_ONE = Extent(1)


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


def _attention(operation: Operation) -> tuple[Term, ...]:
    """Scores, and their product with the values; every head of the query counts, however keys are shared."""
    query, key = operation.inputs[:2]
    return Term(1, query + key[-2:-1]), Term(1, operation.output + key[-2:-1])


def _einsum(operation: Operation) -> tuple[Term, ...]:
    """A product that sums over some letter takes one multiply-add for every value of all letters."""
    terms, _, result = operation.equation.replace(" ", "").partition("->")
    extents: dict[str, Extent] = {}
    for term, shape in zip(terms.split(","), operation.inputs, strict=False):
        dots = len(shape) - len(term.replace("...", ""))
        letters = term.replace("...", "0123456789"[10 - dots :])
        for letter, extent in zip(letters, shape, strict=False):
            if extents.get(letter, _ONE) == _ONE:
                extents[letter] = extent
    sums = any(letter.isalpha() and letter not in result for letter in extents)
    return (Term(1, tuple(extents.values())),) if sums and terms.count(",") == 1 else ()


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


def _recurrent(operation: Operation) -> tuple[Term, ...]:
    """Every step multiplies by every weight matrix; states have three axes, biases one."""
    return _products(operation.inputs[0], operation.inputs[1:])


def _recurrent_cell(operation: Operation) -> tuple[Term, ...]:
    states = 2 if operation.kind == "lstm_cell" else 1
    return _products(operation.inputs[0], operation.inputs[1 + states :])


def _products(activation: Shape, tensors: tuple[Shape, ...]) -> tuple[Term, ...]:
    return tuple(Term(1, activation[:-1] + weight) for weight in tensors if len(weight) == 2)


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
    "baddbmm": _addmm,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "instance_norm": _norm,
    "adaptive_avg_pool2d": _once_per_input,
    "upsample_nearest2d": _once_per_output,
    "upsample_bilinear2d": _four_per_output,
    "grid_sampler": _four_per_output,
}

_SUMS: dict[str, Callable[[Operation], tuple[Term, ...]]] = {
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _recurrent_cell),
}
"""Operators that are several products."""

_MOVING = """
    alias broadcast_to cat channel_shuffle chunk clone concat constant_pad_nd contiguous copy detach embedding
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


def operation_terms(operation: Operation) -> tuple[Term, ...]:
    """FLOPs of one operation: the sum of these terms, none for a kind that is free or has no formula."""
    if operation.kind in _SUMS:
        return _SUMS[operation.kind](operation)
    formula = _FORMULAS.get(operation.kind)
    return (formula(operation),) if formula else ()


def flop_terms(structure: Structure) -> tuple[Term, ...]:
    """FLOPs of a model: the sum of these terms. What lies in a block costs its width times, 0 or 1."""
    return tuple(
        term.within(operation.block)
        for operation in structure.operations
        for term in operation_terms(operation)
    )


def _counted(kind: str) -> bool:
    return kind in _FORMULAS or kind in _SUMS


def uncounted(structure: Structure) -> dict[str, int]:
    """Kinds of operators that compute something but are not in the FLOPs, with how often they occur."""
    kinds = (operation.kind for operation in structure.operations)
    return dict(Counter(kind for kind in kinds if not _counted(kind) and kind not in FREE))
