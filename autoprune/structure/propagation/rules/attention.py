"""Attention and matrix products: operators that multiply two activations."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, shape_of
from autoprune.structure.propagation.labels import varying
from autoprune.structure.propagation.propagate import Propagation, rule
from autoprune.structure.propagation.rules.pointwise import join_broadcast
from autoprune.structure.propagation.rules.products import Factor, product
from autoprune.structure.propagation.rules.weighted import weighted_product

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@rule("scaled_dot_product_attention")
def scaled_dot_product_attention(state: Propagation, node: fx.Node) -> Tensor:
    """``softmax(q @ k.T * scale + mask) @ v``; the axis before the last two is that of the heads."""
    bound = arguments(node)
    rank = len(shape_of(bound["query"]))
    batch = LETTERS[: rank - 2]
    query = _factor(state, bound["query"], batch + "xz")
    key, value = (_factor(state, bound[name], batch + "yz") for name in ("key", "value"))
    if bound.get("enable_gqa"):
        key, value = (_repeated(side, query.shape[-3]) for side in (key, value))
    scores = product(state, query, key, batch + "xy")
    if isinstance(bound.get("attn_mask"), fx.Node):
        mask = bound["attn_mask"]
        pair = [(scores.labels, scores.shape), (state.open_labels(mask), shape_of(mask))]
        scores = Factor(join_broadcast(state.space, pair, scores.shape), scores.shape, scores.letters)
    if set(scores.units) & set("xy"):
        state.space.freeze(scores.labels, "combined over the axis of the units")
        scores = _factor_of(state.space.fixed([1] * rank, "combined over the axis of the units"), scores)
    return state.space.settle(product(state, scores, value, batch + "xz").labels)


@rule("matmul", "mm", "bmm", "mv", "dot")
def matmul(state: Propagation, node: fx.Node) -> Any:
    """Last axis of the left operand with the last but one of the right; the others are batches."""
    first, second = node.args[0], node.args[1]
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    return _product_of(
        state, node, [first, second], _matmul_letters(len(shape_of(first)), len(shape_of(second)))
    )


@rule("baddbmm", "addmm", "addmv")
def added_matmul(state: Propagation, node: fx.Node) -> Any:
    """``bias + left @ right``."""
    bias, first, second = node.args[:3]
    assert isinstance(bias, fx.Node)
    assert isinstance(first, fx.Node)
    assert isinstance(second, fx.Node)
    letters = _matmul_letters(len(shape_of(first)), len(shape_of(second)))
    labels = _product_of(state, node, [first, second], letters)
    return join_broadcast(
        state.space, [(labels, shape_of(node)), (state.open_labels(bias), shape_of(bias))], shape_of(node)
    )


@rule("einsum")
def einsum(state: Propagation, node: fx.Node) -> Any:
    """One or two operands, without repeated letters."""
    bound = arguments(node)
    operands = list(bound["tensors"])
    terms = _einsum_letters(bound["equation"], [len(shape_of(operand)) for operand in operands])
    if terms is None:
        return state.opaque(node, f"einsum {bound['equation']!r} has no rule")
    return _product_of(state, node, operands, terms)


def _product_of(state: Propagation, node: fx.Node, operands: list[fx.Node], terms: list[str]) -> Any:
    """Labels of a product; ``terms`` are the letters of each operand and of the result."""
    *inputs, result = terms
    turned = [state.turned(operand) for operand in operands]
    names = [name or state.parameter(operand) for name, operand in zip(turned, operands, strict=True)]
    owned = [name is not None and name in state.trace.parameters for name in names]
    if len(operands) == 2 and sum(owned) == 1:
        weight = owned.index(True)
        other = _factor(state, operands[1 - weight], inputs[1 - weight])
        letters = inputs[weight][::-1] if turned[weight] else inputs[weight]
        labels = weighted_product(state, other, str(names[weight]), letters, result)
        return state.opaque(node, "multiplied with a tensor of parameters") if labels is None else labels
    if len(operands) == 1:
        return _alone(state, _factor(state, operands[0], inputs[0]), result)
    left, right = (_factor(state, *pair) for pair in zip(operands, inputs, strict=True))
    return state.space.settle(product(state, left, right, result).labels)


def _alone(state: Propagation, side: Factor, result: str) -> Tensor:
    """An einsum of one operand moves axes and sums over those that are not in the result."""
    summed = [axis for axis in varying(side.labels) if side.letters[axis] not in result]
    if summed and len(summed) == len(varying(side.labels)):
        state.space.freeze(side.labels, "combined over the axis of the units")
    kept = state.space.keep(side.labels, set(varying(side.labels)) - set(summed))
    return state.space.leave_open(Factor(kept, side.shape, side.letters).on(result).labels)


def _factor(state: Propagation, node: fx.Node, letters: str) -> Factor:
    return Factor(state.open_labels(node), shape_of(node), letters)


def _factor_of(labels: Tensor, like: Factor) -> Factor:
    return Factor(labels, like.shape, like.letters)


def _repeated(side: Factor, heads: int) -> Factor:
    """Keys or values of grouped-query attention: each head serves several heads of the query."""
    times = heads // side.shape[-3]
    shape = (*side.shape[:-3], heads, *side.shape[-2:])
    labels = side.labels if side.labels.shape[-3] == 1 else side.labels.repeat_interleave(times, -3)
    return Factor(labels, shape, side.letters)


def _matmul_letters(left: int, right: int) -> list[str]:
    """Letters for ``torch.matmul`` of tensors with these numbers of axes."""
    batch = LETTERS[: max(left, right, 2) - 2]
    terms = ["z" if left == 1 else batch[len(batch) - (left - 2) :] + "xz"]
    terms.append("z" if right == 1 else batch[len(batch) - (right - 2) :] + "zy")
    return [*terms, batch + ("x" if left > 1 else "") + ("y" if right > 1 else "")]


def _einsum_letters(equation: str, ranks: list[int]) -> list[str] | None:
    """Letters of every operand and of the result, dots replaced; None for what has no rule."""
    terms, _, result = equation.replace(" ", "").partition("->")
    inputs = terms.split(",")
    if len(inputs) > 2 or "->" not in equation:
        return None
    unused = [letter for letter in LETTERS if letter not in equation]
    longest = max(rank - len(term.replace("...", "")) for term, rank in zip(inputs, ranks, strict=True))
    filled = []
    for term, rank in zip(inputs, ranks, strict=True):
        dots = rank - len(term.replace("...", ""))
        filled.append(term.replace("...", "".join(unused[longest - dots : longest])))
    filled.append(result.replace("...", "".join(unused[:longest])))
    return None if any(len(set(term)) < len(term) for term in filled) else filled
