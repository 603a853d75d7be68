"""Label propagation: one walk over the traced graph that finds out what must be cut together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from autoprune.structure.graph.error_site import kind_and_line
from autoprune.structure.graph.nodes import leaves, operator_name, shape_of, site_of, tensor_nodes
from autoprune.structure.graph.trace import Trace
from autoprune.structure.graph.transposed import turned
from autoprune.structure.graph.weight_norm import Standardised, standardised_weights
from autoprune.structure.groups import AttentionUnit, Role
from autoprune.structure.propagation.labels import LabelSpace, varying

Labels = Tensor | tuple[Any, ...] | None
MOST_LOOSE_ELEMENTS = 4_000_000
"""A parameter used outside any layer gets a label an element; beyond this size it is frozen instead."""


AT_INPUT, AT_OUTPUT = "reaches the model's input", "reaches the model's output"
"""Reasons that name an end of the network."""


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """An operator's argument or result: a parameter by name, or an activation by labels and shape.

    A parameter may be a matrix that is read transposed.
    """

    parameter: str | None
    labels: Tensor | None
    shape: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True, eq=False)
class OperationRecord:
    """One operator of the graph, before the units are known."""

    kind: str
    inputs: tuple[TensorRecord, ...]
    output: TensorRecord
    equation: str = ""


@dataclass(frozen=True, eq=False)
class Statistic:
    """A reduction over units, such as the mean square in a norm.

    Attributes:
        units: labels ``[size]`` along the reduced axis.
        axis: of the operator's tensors.
        tensors: how many of its first arguments are reduced.
    """

    units: Tensor
    axis: int
    tensors: int = 1


class Propagation:
    """The state of the walk: labels of every value, and of every parameter axis met so far."""

    def __init__(self, trace: Trace, attention: AttentionUnit = "heads") -> None:
        self.trace = trace
        self.attention = attention
        self.space = LabelSpace()
        self.ties: dict[tuple[str, int, Role], Tensor] = {}
        self.operations: list[OperationRecord] = []
        self.operators: list[fx.Node] = []
        self._axes: dict[tuple[str, int], Tensor] = {}
        self._loose: dict[str, Tensor] = {}
        self._values: dict[fx.Node, Labels] = {}
        self.sums: list[tuple[Tensor, Tensor]] = []
        """Label of every product of activations that sums over units, and those units."""
        self.statistics: dict[fx.Node, Statistic] = {}
        """Operators that compute a number from all the units of an axis."""
        self._constant: set[fx.Node] = set()
        self._standardised: dict[fx.Node, Standardised] = {}
        self._walked = trace
        self.is_flat = trace.is_flat
        self.unread = trace.unread

    def run(self, training: Trace | None = None) -> None:
        """Walk the graph once. Operators without a rule freeze what reaches them.

        Args:
            training: the same model traced in training mode; what its graph ties is tied as well. Its
                operators are not among :attr:`operations`.
        """
        self._walk(self.trace)
        if training is not None:
            recorded = len(self.operations)
            self._walk(training)
            del self.operations[recorded:], self.operators[recorded:]
            self.unread &= training.unread
        self.space.straighten_open()
        self._resolve_loose()

    def _walk(self, trace: Trace) -> None:
        self._walked = trace
        found = standardised_weights(trace.graph, self.parameter, trace.shapes)
        self._standardised |= found
        skipped = {node for weight in found.values() for node in weight.nodes}
        for node in trace.graph.nodes:
            if node in skipped:
                continue
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
                if node.name not in self.trace.inputs:
                    self._constant.add(node)
            elif node.op == "call_function":
                self._values[node] = self._call(node)
                if self._constant.issuperset(node.all_input_nodes):
                    self._constant.add(node)
            elif node.op == "output":
                for argument in tensor_nodes(node.args):
                    if self.parameter(argument) is None:
                        self.freeze(argument, AT_OUTPUT)

    # What rules use.

    def labels(self, node: fx.Node) -> Tensor:
        """Compact labels of a tensor value that change along one axis at most.

        Those of a parameter may change along several: it gets a label for each of its elements.
        """
        labels = self.open_labels(node)
        return labels if self.parameter(node) is not None else self.space.straighten(labels)

    def open_labels(self, node: fx.Node) -> Tensor:
        """Compact labels of a tensor value, along as many axes as they change."""
        name = self.parameter(node)
        if name is not None:
            return self.space.settle(self._loose_labels(name))
        value = self._values[node]
        assert isinstance(value, Tensor), f"{node} is no tensor"
        return self.space.settle(value)

    def parameter(self, node: Any) -> str | None:
        """State-dict name when the value is a parameter or buffer itself, else None."""
        return self._walked.state.get(node.name) if isinstance(node, fx.Node) else None

    def turned(self, node: fx.Node) -> str | None:
        """State-dict name of the matrix that a node gives transposed to products, else None."""
        return turned(node, self.parameter)

    def standardised(self, node: Any) -> Standardised | None:
        """The weight that a node computes from one parameter row by row, else None."""
        return self._standardised.get(node)

    def axis(self, name: str, axis: int, role: Role) -> Tensor:
        """Labels ``[size]`` of one axis of a parameter; the same ones at every use of it."""
        if (name, axis) not in self._axes:
            self._axes[name, axis] = self.space.fresh([self.trace.shapes[name][axis]])
        self.ties[name, axis, role] = self._axes[name, axis]
        return self._axes[name, axis]

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a value is computed from parameters, buffers and numbers alone."""
        return node in self._constant

    def freeze(self, node: fx.Node, reason: str) -> None:
        """All units of a value must stay."""
        if self.parameter(node) is not None:
            self.space.freeze(self.labels(node), reason)
            return
        for part in leaves(self._values.get(node)):
            if isinstance(part, Tensor):
                self.space.freeze(part, reason)

    def note_statistic(self, node: fx.Node, units: Tensor, axis: int, tensors: int = 1) -> None:
        """An operator computes a statistic over units; after a cut it runs over those that stay."""
        self.space.mark_inexact(units)
        self.statistics[node] = Statistic(units, axis, tensors)

    def reduced(self) -> set[int]:
        """Representatives of the units that a statistic runs over."""
        roots = [self.space.find(statistic.units).reshape(-1) for statistic in self.statistics.values()]
        return set(torch.cat(roots).tolist()) if roots else set()

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
            return tuple(
                self.space.fixed(part.shape, reason) if isinstance(part, Tensor) else None for part in value
            )
        return None

    # The walk itself.

    def _placeholder(self, node: fx.Node) -> Labels:
        value = node.meta.get("val")
        if node.name in self._walked.state or not isinstance(value, Tensor):
            return None
        known = node.name in self._walked.inputs
        reason = f"{AT_INPUT} {node.name!r}" if known else "tied to a constant tensor"
        return self.space.fixed(value.shape, reason)

    def _call(self, node: fx.Node) -> Labels:
        if node.target is operator.getitem:
            return self._part(node.args[0], node.args[1])
        if not any(isinstance(leaf, Tensor) for leaf in leaves(node.meta.get("val"))):
            return None
        kind = operator_name(node)
        if kind == "select" and isinstance(self._values.get(node.args[0]), tuple):  # type: ignore[arg-type]
            return self._part(node.args[0], node.args[2])
        if not _has_fixed_shapes(node):
            return self.opaque(node, f"the shape of {kind} depends on values")
        rule = rule_for(kind)
        labels = self._ruled(rule, node) if rule else self.opaque(node, f"{kind} has no rule")
        self._record(kind, node, labels)
        return labels

    def _ruled(self, rule: Rule, node: fx.Node) -> Labels:
        """What the rule gives; where it raises, what it did so far is taken back, and its units stay."""
        before = self.ties, self._axes, self._loose, self.sums, self.statistics
        self.ties, self._axes, self._loose = dict(self.ties), dict(self._axes), dict(self._loose)
        self.sums, self.statistics = list(self.sums), dict(self.statistics)
        try:
            with self.space.attempt():
                labels: Labels = rule(self, node)
                _require_fit(labels, node.meta["val"])
                return labels
        except Exception as error:
            self.ties, self._axes, self._loose, self.sums, self.statistics = before
            where = operator_name(node) + site_of(node)
            return self.opaque(node, f"the rule of {where} failed: {kind_and_line(error)}")

    def _part(self, source: Any, index: Any) -> Labels:
        """One of several results, or of several tensors of different sizes that stand for a stacked one."""
        values = self._values.get(source)
        inside = isinstance(values, tuple) and isinstance(index, int) and -len(values) <= index < len(values)
        return values[index] if inside else None  # type: ignore[index]

    def _record(self, kind: str, node: fx.Node, labels: Labels) -> None:
        result = labels[0] if isinstance(labels, tuple) else labels
        first = next(leaf for leaf in leaves(node.meta["val"]) if isinstance(leaf, Tensor))
        inputs = tuple(self._tensor_record(a) for a in tensor_nodes((node.args, node.kwargs)))
        output = TensorRecord(None, result, tuple(first.shape))
        equation = str(node.args[0]) if kind == "einsum" else ""
        self.operations.append(OperationRecord(kind, inputs, output, equation))
        self.operators.append(node)

    def _tensor_record(self, node: fx.Node) -> TensorRecord:
        computed = self.standardised(node)
        if computed is not None:
            return TensorRecord(computed.parameter, None, shape_of(node))
        value, transposed = self._values.get(node), self.turned(node)
        return TensorRecord(
            transposed or self.parameter(node),
            value if isinstance(value, Tensor) else None,
            shape_of(node),
            transposed is not None,
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

    def reasons_of(self, name: str, reasons: Mapping[int, str]) -> str | None:
        """The first of the reasons that holds for a unit of this parameter.

        Args:
            name: state-dict name.
            reasons: representative of every unit that must stay -> why.
        """
        vectors = [vector for (owner, _), vector in self._axes.items() if owner == name]
        vectors += [self._loose[name]] if name in self._loose else []
        roots = {root for vector in vectors for root in self.space.find(vector).reshape(-1).tolist()}
        return next((reason for root, reason in reasons.items() if root in roots), None)

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


def _require_fit(labels: Any, value: Any) -> None:
    """Raise ValueError for labels that do not belong to a tensor of that shape."""
    if isinstance(value, list | tuple) and isinstance(labels, list | tuple):
        for own, part in zip(labels, value, strict=True):
            _require_fit(own, part)
    elif isinstance(value, Tensor) and isinstance(labels, Tensor):
        sizes = zip(labels.shape, value.shape, strict=False)
        if labels.dim() != value.dim() or any(size not in (1, whole) for size, whole in sizes):
            raise ValueError(f"labels {list(labels.shape)} for a value {list(value.shape)}")


def _has_fixed_shapes(node: fx.Node) -> bool:
    """Whether no size of what enters and leaves depends on values (as after non-maximum suppression)."""
    values = [leaf for leaf in leaves(node.meta["val"]) if isinstance(leaf, Tensor)]
    values += [argument.meta["val"] for argument in tensor_nodes((node.args, node.kwargs))]
    return all(isinstance(size, int) for value in values for size in value.shape)


Rule = Callable[["Propagation", fx.Node], Any]

_RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of these ATen operators (in-place forms included)."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = function
        return function

    return register


def rule_for(kind: str) -> Rule | None:
    """The rule of an operator, or None where there is none."""
    return _RULES.get(kind)
