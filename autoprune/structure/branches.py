"""Reading residual modules off the traced graph: the trunk that passes through, the branches added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name, shape_of, tensor_nodes
from autoprune.structure.propagation.rules.moving import REARRANGING


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


ADDING = _kinds("add sub subtract")
JOINING = _kinds("add cat concat concatenate hstack stack sub subtract vstack")
SCALING = _kinds("bmm div matmul mm mul multiply true_divide")
LAYERS = _kinds("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear")
NORMALISING = _kinds("batch_norm group_norm instance_norm layer_norm rms_norm")
MOVING = _kinds(REARRANGING) | _kinds(
    "_to_copy alias clone contiguous detach dropout feature_dropout getitem to"
)
KEEPING_ZERO = MOVING | _kinds("""
    adaptive_avg_pool1d adaptive_avg_pool2d avg_pool1d avg_pool2d celu constant_pad_nd elu gelu hardshrink
    hardswish hardtanh leaky_relu max_pool2d mean mish neg pad relu relu6 selu silu softshrink sum tanh
    upsample_bilinear2d upsample_nearest2d
""")
PASSING = MOVING | NORMALISING | _kinds("elu gelu hardtanh leaky_relu relu relu6 silu")
"""Operators that a trunk may run through. Only a run shows whether they leave their input unchanged."""


@dataclass(frozen=True, eq=False)
class Residual:
    """One call of a module that adds branches to what enters it.

    Attributes:
        additions: where the branches meet the trunk.
        ends: the parameters that silence every branch when they are zero.
    """

    additions: tuple[fx.Node, ...]
    ends: tuple[str, ...]


def calls_by_module(graph: fx.Graph, names: Mapping[str, str]) -> dict[str, list[frozenset[fx.Node]]]:
    """Module path -> the operators of each of its calls, those of inner modules included.

    Args:
        graph: an exported graph, whose nodes carry the stack of calls that they belong to.
        names: every path of a module -> the path it is to be known by.
    """
    nodes: dict[tuple[str, str], list[fx.Node]] = {}
    for node in graph.nodes:
        for call, (path, _) in node.meta.get("nn_module_stack", {}).items():
            if path and path in names:
                nodes.setdefault((names[path], call), []).append(node)
    calls: dict[str, list[frozenset[fx.Node]]] = {}
    for (module, _), members in nodes.items():
        calls.setdefault(module, []).append(frozenset(members))
    return calls


def residual(nodes: frozenset[fx.Node], parameters: Mapping[str, str]) -> Residual | None:
    """Trunk and branches of one call of a module; None where it is not its input plus branches.

    Args:
        nodes: the operators of the call.
        parameters: placeholder name -> state-dict name of the parameters that may be silenced.
    """
    leaving = [node for node in nodes if not nodes.issuperset(node.users)]
    if len(leaving) != 1:
        return None
    silencer = _Silencer(nodes, parameters)
    additions: list[fx.Node] = []
    ends: dict[str, None] = {}
    node = leaving[0]
    while node in nodes:
        kind, operands = operator_name(node), tensor_nodes(node.args)
        if kind in ADDING and len(operands) == 2:
            found = silencer.silence(operands[1])
            trunk = operands[0]
            if found is None:
                found, trunk = silencer.silence(operands[0]), operands[1]
            if found is None:
                return None
            additions.append(node)
            ends |= dict.fromkeys(sorted(found))
            node = trunk
        elif kind in PASSING and operands:
            node = operands[0]
        else:
            return None
    whole = isinstance(node.meta.get("val"), Tensor) and shape_of(node) == shape_of(leaving[0])
    return Residual(tuple(additions), tuple(ends)) if additions and whole else None


@dataclass(frozen=True, eq=False)
class _Silencer:
    """Finds the parameters that make a value zero when they are zero."""

    nodes: frozenset[fx.Node]
    parameters: Mapping[str, str]

    def silence(self, node: fx.Node | None) -> frozenset[str] | None:
        """The parameters nearest to the value; None where there are none."""
        if node is None:
            return frozenset()
        if node.name in self.parameters:
            return frozenset({self.parameters[node.name]})
        if node not in self.nodes:
            return None
        kind, operands = operator_name(node), tensor_nodes(node.args)
        if kind in LAYERS:
            bound = arguments(node)
            return self._all(self._any(bound["weight"], bound["input"]), self.silence(bound["bias"]))
        if kind in NORMALISING:
            bound = arguments(node)
            weight, bias = bound["weight"], bound.get("bias")
            return None if weight is None else self._all(self.silence(weight), self.silence(bias))
        if kind in SCALING:
            return self._any(*(operands[:1] if "div" in kind else operands))
        if kind in JOINING:
            return self._all(*map(self.silence, operands))
        if kind == "scaled_dot_product_attention":
            return self.silence(arguments(node)["value"])
        return self.silence(operands[0]) if kind in KEEPING_ZERO and operands else None

    def _any(self, *values: fx.Node) -> frozenset[str] | None:
        return next((found for value in values if (found := self.silence(value)) is not None), None)

    def _all(self, *found: frozenset[str] | None) -> frozenset[str] | None:
        ends: frozenset[str] = frozenset()
        for part in found:
            if part is None:
                return None
            ends |= part
        return ends
