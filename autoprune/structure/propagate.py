"""Label propagation: one walk over the traced graph that finds out what must be cut together."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from autoprune.structure.groups import Role
from autoprune.structure.labels import LabelSpace, varying
from autoprune.structure.nodes import leaves, operator_name, shape_of, tensor_nodes
from autoprune.structure.registry import rule_for
from autoprune.structure.trace import Trace

Labels = Tensor | tuple[Any, ...] | None

MOST_LOOSE_ELEMENTS = 4_000_000
"""A parameter used outside any layer gets a label an element; beyond this size it is frozen instead."""


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """An operator's argument or result: a parameter by name, or an activation by labels and shape."""

    parameter: str | None
    labels: Tensor | None
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class OperationRecord:
    """One operator of the graph, before the units are known."""

    kind: str
    inputs: tuple[TensorRecord, ...]
    output: TensorRecord


class Propagation:
    """The state of the walk: labels of every value, and of every parameter axis met so far."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.space = LabelSpace()
        self.ties: dict[tuple[str, int, Role], Tensor] = {}
        self.operations: list[OperationRecord] = []
        self._axes: dict[tuple[str, int], Tensor] = {}
        self._loose: dict[str, Tensor] = {}
        self._values: dict[fx.Node, Labels] = {}

    def run(self) -> None:
        """Walk the graph once. Operators without a rule freeze what reaches them."""
        for node in self.trace.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
            elif node.op == "call_function":
                self._values[node] = self._call(node)
            elif node.op == "output":
                for argument in tensor_nodes(node.args):
                    if self.parameter(argument) is None:
                        self.freeze(argument, "reaches the model's output")
        self._resolve_loose()

    # What rules use.

    def labels(self, node: fx.Node) -> Tensor:
        """Compact labels of a tensor value; a parameter gets a label for each of its elements."""
        name = self.parameter(node)
        if name is not None:
            return self.space.settle(self._loose_labels(name))
        value = self._values[node]
        assert isinstance(value, Tensor), f"{node} is no tensor"
        return self.space.settle(value)

    def parameter(self, node: Any) -> str | None:
        """State-dict name when the value is a parameter or buffer itself, else None."""
        return self.trace.state.get(node.name) if isinstance(node, fx.Node) else None

    def axis(self, name: str, axis: int, role: Role) -> Tensor:
        """Labels ``[size]`` of one axis of a parameter; the same ones at every use of it."""
        if (name, axis) not in self._axes:
            self._axes[name, axis] = self.space.fresh([self.trace.shapes[name][axis]])
        self.ties[name, axis, role] = self._axes[name, axis]
        return self._axes[name, axis]

    def freeze(self, node: fx.Node, reason: str) -> None:
        """All units of a value must stay."""
        value = self._values.get(node)
        if self.parameter(node) is not None:
            self.space.freeze(self.labels(node), reason)
        elif isinstance(value, Tensor):
            self.space.freeze(value, reason)
        elif isinstance(value, tuple):
            for part in value:
                self.space.freeze(part, reason)

    def opaque(self, node: fx.Node, reason: str) -> Labels:
        """Give up on an operator: freeze all that enters, and let nothing that leaves be cut."""
        for argument in tensor_nodes((node.args, node.kwargs)):
            self.freeze(argument, reason)
        return self.fixed_like(node, reason)

    def fixed_like(self, node: fx.Node, reason: str) -> Labels:
        """Labels of a result that depends on no unit."""
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            return self.space.fixed(value.shape, reason)
        if isinstance(value, list | tuple):
            return tuple(self.space.fixed(part.shape, reason) for part in value if isinstance(part, Tensor))
        return None

    # The walk itself.

    def _placeholder(self, node: fx.Node) -> Labels:
        value = node.meta.get("val")
        if node.name in self.trace.state or not isinstance(value, Tensor):
            return None
        known = node.name in self.trace.inputs
        reason = f"reaches the model's input {node.name!r}" if known else "tied to a constant tensor"
        return self.space.fixed(value.shape, reason)

    def _call(self, node: fx.Node) -> Labels:
        if node.target is operator.getitem:
            source, index = node.args
            values = self._values[source] if isinstance(source, fx.Node) else None
            return values[index] if isinstance(values, tuple) and isinstance(index, int) else None
        if not any(isinstance(leaf, Tensor) for leaf in leaves(node.meta.get("val"))):
            return None
        kind = operator_name(node)
        rule = rule_for(kind)
        labels = rule(self, node) if rule else self.opaque(node, f"{kind} has no rule")
        self._record(kind, node, labels)
        return labels

    def _record(self, kind: str, node: fx.Node, labels: Labels) -> None:
        result = labels[0] if isinstance(labels, tuple) else labels
        value = node.meta["val"]
        first = value[0] if isinstance(value, list | tuple) else value
        inputs = tuple(self._tensor_record(a) for a in tensor_nodes((node.args, node.kwargs)))
        self.operations.append(OperationRecord(kind, inputs, TensorRecord(None, result, tuple(first.shape))))

    def _tensor_record(self, node: fx.Node) -> TensorRecord:
        value = self._values[node]
        return TensorRecord(
            self.parameter(node), value if isinstance(value, Tensor) else None, shape_of(node)
        )

    def _loose_labels(self, name: str) -> Tensor:
        shape = self.trace.shapes[name]
        wide = [axis for axis, size in enumerate(shape) if size > 1]
        if len(wide) <= 1:
            if not wide:
                return self._loose.setdefault(name, self.space.fresh(shape))
            labels = self.axis(name, wide[0], "pass")
            return labels.reshape(shape)
        if name not in self._loose:
            small = torch.Size(shape).numel() <= MOST_LOOSE_ELEMENTS
            self._loose[name] = (
                self.space.fresh(shape)
                if small
                else self.space.fixed(shape, f"tied to the large tensor {name}")
            )
        return self._loose[name]

    def _resolve_loose(self) -> None:
        """Find the axis along which each parameter that no layer owns is to be cut."""
        for name, loose in self._loose.items():
            labels = self.space.settle(loose)
            axes = varying(labels)
            owned = [vector for (owner, _), vector in self._axes.items() if owner == name]
            if owned or len(axes) > 1:
                for vector in [*owned, loose]:
                    self.space.freeze(vector, f"{name} would have to be cut along two axes")
            elif len(axes) == 1:
                self.ties[name, axes[0], "pass"] = labels.reshape(-1)
            else:
                self.space.freeze(labels, f"{name} cannot be cut without emptying it")
