"""Recurrent operators: a unit is a hidden unit with the rows of all its gates.

Rows ``u``, ``H + u``, ``2H + u``, ... of the weights and biases make hidden unit ``u``; column ``u`` of the
recurrent weight reads it, or of the projection where there is one, whose outputs are units of their own.
Every layer and direction is a group of its own, except where something needs their sizes to be equal:
initial states given by the caller, or final states that are used in another way than one by one.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name
from autoprune.structure.propagation.propagate import Propagation, rule, rule_for
from autoprune.structure.propagation.rules.contracting import units_along
from autoprune.structure.propagation.rules.pointwise import factory
from autoprune.structure.surgery.slim.recurrent import LAYERED

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Blocks of rows in the weights of each operator."""
DIVISIBLE = {f"{kind.__module__}.{kind.__qualname__}" for pair in LAYERED.items() for kind in pair}
"""Modules that can give every layer and direction a size of its own."""


@dataclass(frozen=True, eq=False)
class _Cell:
    """Labels of one layer in one direction: its hidden units, and what leaves it (less with a projection)."""

    hidden: Tensor
    leaving: Tensor


@rule(*GATES)
def recurrent(state: Propagation, node: fx.Node) -> Any:
    """Stacked and bidirectional layers in one operator; gives the output and the final states."""
    bound = arguments(node)
    names = [state.parameter(weight) for weight in bound.get("params", ())]
    if "batch_sizes" in bound or None in names:
        return state.opaque(node, "the weights or lengths of this recurrent layer are computed")
    directions = 2 if bound["bidirectional"] else 1
    count = bound["num_layers"] * directions
    size = len(names) // count
    entering = units_along(state, bound["input"], -1, "a recurrent layer runs along the axis of the units")
    cells: list[_Cell] = []
    for first in range(0, count, directions):
        layer = [
            _cell(state, node, names[cell * size : (cell + 1) * size], entering)
            for cell in range(first, first + directions)
        ]
        entering = torch.cat([cell.leaving for cell in layer])
        cells += layer
    given = [start for start in _states(bound["hx"]) if not _own_zeros(start, node)]
    divisible = _module(node)[1] in DIVISIBLE
    if not divisible and size in (3, 5):
        # The operator takes a state as long as the projection for one without a projection.
        for cell in cells:
            state.space.freeze(cell.hidden, "must stay longer than its projection")
    tied = not divisible or bool(given) or _read_whole(node)
    if tied:
        for cell in cells[1:]:
            state.space.join(cell.hidden, cells[0].hidden)
            state.space.join(cell.leaving, cells[0].leaving)
    _start(state, _states(bound["hx"]), given, cells[0])
    ends = [[cell.leaving for cell in cells], [cell.hidden for cell in cells]]
    finals = [_stacked(state, end, tied) for end in ends[: len(_states(bound["hx"]))]]
    return state.space.settle(entering.reshape(1, 1, -1)), *finals


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(state: Propagation, node: fx.Node) -> Any:
    """One step of one layer."""
    bound = arguments(node)
    weights = [bound[key] for key in ("w_ih", "w_hh", "b_ih", "b_hh") if bound[key] is not None]
    names = [state.parameter(weight) for weight in weights]
    if None in names:
        return state.opaque(node, "the weight of this recurrent layer is computed")
    entering = units_along(state, bound["input"], -1, "a recurrent layer runs along the axis of the units")
    made = _cell(state, node, names, entering)
    given = [start for start in _states(bound["hx"]) if not _own_zeros(start, node)]
    _start(state, _states(bound["hx"]), given, made)
    labels = state.space.settle(made.hidden.reshape(1, -1))
    return (labels, labels) if operator_name(node) == "lstm_cell" else labels


def _cell(state: Propagation, node: fx.Node, names: Sequence[Any], entering: Tensor) -> _Cell:
    """Tie one cell's parameters: input weight, recurrent weight, biases if any, projection if any."""
    gates = GATES[operator_name(node).removesuffix("_cell")]
    from_input, from_state, *others = names
    hidden = state.axis(from_input, 0, "out").reshape(gates, -1)[0]
    made = [state.axis(from_input, 0, "out"), state.axis(from_state, 0, "out")]
    made += [state.axis(bias, 0, "pass") for bias in others[:2] if len(others) > 1]
    for rows in made:
        state.space.join(rows.reshape(gates, -1), hidden)
    state.space.join(entering, state.axis(from_input, 1, "in"))
    leaving = hidden
    if len(others) % 2:
        state.space.join(hidden, state.axis(others[-1], 1, "in"))
        leaving = state.axis(others[-1], 0, "out")
    state.space.join(leaving, state.axis(from_state, 1, "in"))
    state.space.mark_kind(torch.cat([hidden, leaving]), "hidden")
    return _Cell(hidden, leaving)


def _start(state: Propagation, states: Sequence[fx.Node], given: Sequence[fx.Node], cell: _Cell) -> None:
    """Tie the initial states that the caller gives.

    New zeros are not tied: where their size follows the module's the cut is right, and where it is a number
    in the code the proof finds out.
    """
    for start, units in zip(states, (cell.leaving, cell.hidden), strict=False):
        if start in given and rule_for(operator_name(start)) is not factory:
            state.space.join(state.labels(start), units)


def _stacked(state: Propagation, units: Sequence[Tensor], tied: bool) -> Any:
    """Labels of the final states ``[cells, N, size]``, cell by cell where their sizes may differ."""
    if tied or len(units) == 1:
        return state.space.settle(units[0].reshape(1, 1, -1))
    return tuple(state.space.settle(labels.reshape(1, -1)) for labels in units)


def _states(hx: Any) -> Sequence[fx.Node]:
    return hx if isinstance(hx, list | tuple) else [hx]


def _module(node: fx.Node) -> tuple[str, str]:
    """Path and class of the innermost module that called the operator."""
    stack = node.meta.get("nn_module_stack") or {"": ("", "")}
    path, kind = list(stack.values())[-1]
    return path, kind


def _own_zeros(start: fx.Node, node: fx.Node) -> bool:
    """Whether the module made this initial state itself, so that its size follows a cut."""
    return rule_for(operator_name(start)) is factory and _module(start) == _module(node)


def _read_whole(node: fx.Node) -> bool:
    """Whether final states are used in another way than by selecting those of one cell."""
    ends = [user for user in node.users if user.target is operator.getitem and user.args[1] != 0]
    return any(not _selects_one(reader) for end in ends for reader in end.users)


def _selects_one(reader: fx.Node) -> bool:
    return operator_name(reader) == "select" and bool(reader.args[1] == 0)
