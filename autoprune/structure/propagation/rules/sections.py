"""Sections: equal parts into which code divides an axis, of an activation or of a weight.

``qkv.chunk(3, -1)``, ``x[..., : n // 2]`` and ``weight.split([n, 2 * n])`` stay right when all sections lose
the same positions, as long as the code takes their length from a shape or an attribute that follows. Whether
it does, the proof by execution shows.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name, shape_of
from autoprune.structure.propagation.propagate import Propagation

SPLITTING = {"chunk", "split", "unsafe_chunk", "unsafe_split", "tensor_split", "split_with_sizes"}
CUTTING_OUT = {"slice", "narrow"}
SAME = {"alias", "clone", "contiguous", "detach", "to"}


def tie_sections(state: Propagation, labels: Tensor, axis: int, parts: list[int]) -> bool:
    """Tie equal positions of the sections that these lengths are multiples of; False where there are none."""
    length = min(parts)
    if length == 0 or any(part % length for part in parts):
        return False
    shape = labels.shape
    sections = labels.reshape(*shape[:axis], sum(parts) // length, length, *shape[axis + 1 :])
    state.space.join(sections, sections.narrow(axis, 0, 1))
    return True


def cut_out(node: fx.Node) -> tuple[int, list[int]] | None:
    """Axis and lengths ``[before, taken, after]`` of a slice without steps, lengths of zero left out."""
    bound = arguments(node)
    shape = shape_of(bound["self"])
    axis = bound["dim"] % len(shape)
    start, step = bound["start"] or 0, bound.get("step", 1)
    if not isinstance(start, int) or step != 1:
        return None
    start = min(start + shape[axis] if start < 0 else start, shape[axis])
    taken = shape_of(node)[axis]
    lengths = [start, taken, shape[axis] - start - taken]
    return axis, [length for length in lengths if length > 0]


@dataclass(frozen=True)
class ParameterRows:
    """Rows ``start`` to ``stop`` of a parameter."""

    parameter: str
    start: int
    stop: int


def rows_of(state: Propagation, node: Any) -> ParameterRows | None:
    """Which rows of a parameter a node gives, or None when it is computed in another way."""
    if not isinstance(node, fx.Node):
        return None
    name = state.parameter(node)
    if name is not None:
        return ParameterRows(name, 0, state.trace.shapes[name][0])
    if node.op != "call_function":
        return None
    if node.target is operator.getitem:
        source, position = node.args
        assert isinstance(source, fx.Node)
        if operator_name(source) not in SPLITTING or arguments(source).get("dim", 0) != 0:
            return None
        whole = rows_of(state, arguments(source)["self"])
        start = sum(part.shape[0] for part in source.meta["val"][:position])
    elif operator_name(node) in CUTTING_OUT:
        where = cut_out(node)
        if where is None or where[0] != 0:
            return None
        whole = rows_of(state, arguments(node)["self"])
        start = arguments(node)["start"] or 0
    elif operator_name(node) in SAME:
        whole, start = rows_of(state, node.args[0]), 0
    else:
        return None
    if whole is None or start < 0:
        return None
    return ParameterRows(whole.parameter, whole.start + start, whole.start + start + shape_of(node)[0])


def weight_sections(state: Propagation, node: fx.Node) -> Any:
    """Labels of the rows of a weight that linear layers read in parts, or None for anything else."""
    kind = operator_name(node)
    if kind not in SPLITTING | CUTTING_OUT:
        return None
    name = state.parameter(arguments(node)["self"])
    if name is None or len(state.trace.shapes[name]) != 2:
        return None
    parts = list(node.users) if kind in SPLITTING else [node]
    rows = [rows_of(state, part) for part in parts]
    if None in rows or not all(_weight_of_linear(part, user) for part in parts for user in part.users):
        return None
    lengths = (
        [part.shape[0] for part in node.meta["val"]] if kind in SPLITTING else (cut_out(node) or (0, []))[1]
    )
    labels = state.axis(name, 0, "out")
    if not tie_sections(state, labels, 0, lengths):
        state.space.freeze(labels, "split into unequal parts at fixed positions")
    by_part = {
        part: labels[own.start : own.stop].reshape(-1, 1)
        for part, own in zip(parts, rows, strict=True)
        if own
    }
    if kind in CUTTING_OUT:
        return by_part[node]
    in_order: list[Tensor] = [state.space.fixed(part.shape, "not read") for part in node.meta["val"]]
    for part, own in by_part.items():
        position = part.args[1]
        assert isinstance(position, int)
        in_order[position] = own
    return tuple(in_order)


def _weight_of_linear(part: fx.Node, user: fx.Node) -> bool:
    return user.op == "call_function" and operator_name(user) == "linear" and user.args[1] is part
