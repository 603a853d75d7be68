"""Weights that are normalised before a layer uses them.

Weight normalisation (Salimans and Kingma, 2016) and weight standardisation (Qiao et al., 2019): every row
along the first axis is scaled by statistics of its own, so rows can be cut like those of any other weight,
and columns like channels under a group normalisation.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name, shape_of

LAYERS = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear"
HARMLESS = """
    _to_copy add alias clamp clamp_min clone contiguous div expand expand_as mul multiply neg pow reciprocal
    reshape reshape_as rsqrt sqrt square sub subtract to true_divide view view_as
"""
REDUCING = "linalg_vector_norm mean norm std std_mean sum var var_mean"
_LAYERS, _HARMLESS, _REDUCING = (frozenset(names.split()) for names in (LAYERS, HARMLESS, REDUCING))


@dataclass(frozen=True, eq=False)
class Standardised:
    """A weight computed from one parameter row by row.

    Attributes:
        parameter: state-dict name of the parameter, which has the weight's shape.
        gains: parameters and buffers that hold one number a row.
        nodes: the operators that compute it.
    """

    parameter: str
    gains: tuple[str, ...]
    nodes: frozenset[fx.Node]


def standardised_weights(
    graph: fx.Graph, parameter: Callable[[fx.Node], str | None], shapes: Mapping[str, tuple[int, ...]]
) -> dict[fx.Node, Standardised]:
    """The nodes that give layers standardised weights.

    Args:
        graph: an exported graph.
        parameter: gives the state-dict name of a placeholder, or None for an input.
        shapes: state-dict name -> shape.
    """
    found: dict[fx.Node, Standardised] = {}
    for layer in graph.nodes:
        if layer.op != "call_function" or operator_name(layer) not in _LAYERS:
            continue
        weight = arguments(layer)["weight"]
        if isinstance(weight, fx.Node) and weight.op == "call_function" and weight not in found:
            # What is not understood here is a weight that some other operators compute.
            with suppress(Exception):
                read = _read(weight, parameter, shapes)
                if read is not None:
                    found[weight] = read
    return found


def _read(
    weight: fx.Node, parameter: Callable[[fx.Node], str | None], shapes: Mapping[str, tuple[int, ...]]
) -> Standardised | None:
    shape, rows = shape_of(weight), shape_of(weight)[0]
    nodes, names, waiting = {weight}, [], [weight]
    while waiting:
        node = waiting.pop()
        if node.op == "placeholder":
            names.append(parameter(node))
            continue
        if not _keeps_rows(node, rows):
            return None
        nodes.add(node)
        waiting += [source for source in node.all_input_nodes if source not in nodes]
    known = [name for name in dict.fromkeys(names) if name is not None]
    whole = [name for name in known if shapes[name] == shape]
    others = [name for name in known if name not in whole]
    gains = tuple(name for name in others if shapes[name][:1] == (rows,))
    one_number_a_row = all(math.prod(shapes[name]) == rows for name in gains)
    if None in names or len(whole) != 1 or not one_number_a_row:
        return None
    if any(math.prod(shapes[name]) != 1 for name in others if name not in gains):
        return None
    inside = nodes - {weight}
    if any(user not in nodes for node in inside for user in node.users):
        return None
    if any(operator_name(user) not in _LAYERS for user in weight.users):
        return None
    return Standardised(whole[0], gains, frozenset(nodes))


def _keeps_rows(node: fx.Node, rows: int) -> bool:
    """Whether no row of the result depends on another row."""
    if node.target is operator.getitem:
        return True
    kind = operator_name(node)
    if kind in _HARMLESS:
        return True
    bound = arguments(node)
    if kind == "_weight_norm":
        return bool(bound["dim"] == 0)
    if kind == "batch_norm":
        return bool(bound["training"]) and shape_of(bound["input"])[:2] == (1, rows)
    source: Any = bound.get("self", bound.get("input"))
    if kind not in _REDUCING or not isinstance(source, fx.Node):
        return False
    dims = bound.get("dim")
    axes = [dims] if isinstance(dims, int) else dims
    value = source.meta["val"]
    return bool(axes) and isinstance(value, Tensor) and value.shape[0] == rows and _beside(axes, value.dim())


def _beside(axes: Any, rank: int) -> bool:
    return all(axis % rank != 0 for axis in axes)
