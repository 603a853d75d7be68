"""The original model with removed units left out of every statistic over units.

A norm written by hand computes a statistic over the units, such as ``x.pow(2).mean(-1)``. No zero in a weight
takes a unit out of a mean, so the zeroed model is no reference for its cut. What a cut promises is this: the
sliced model equals the original where removed units are read by zero *and* every statistic runs over the
units that stay. The traced graph knows which operators those are, and which positions each leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from autoprune.structure.graph.nodes import arguments, operator_name
from autoprune.structure.graph.trace import Trace, trace
from autoprune.structure.graph.values import ExampleInputs, as_call, tensors_in
from autoprune.structure.propagation.propagate import Propagation, Statistic
from autoprune.structure.verification.substitute import Make, Substitute

CHECKS = {"_assert_tensor_metadata", "_assert_async", "_assert_scalar"}
"""Operators that compute nothing; some of them insist on the types of the original."""
SCALING = frozenset(["div", "divide", "mul", "multiply", "true_divide"])
OVER_CHANNELS, OVER_LAST = frozenset({"group_norm"}), frozenset({"layer_norm", "rms_norm"})
Positions = Mapping[str, Mapping[int, NDArray[np.int64]]]
"""Tensor name -> axis -> positions."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A traced graph that can be run with units left out of its statistics.

    Attributes:
        trace: the graph, in the mode in which models are compared.
        propagation: a finished walk over it.
        sizes_follow: whether a number that equals the width of a statistic's units, or its root, stands for
            it: ``h.pow(2).sum(-1) / h.shape[-1]`` was traced as a division by that number.
    """

    trace: Trace
    propagation: Propagation
    sizes_follow: bool = False

    @classmethod
    def of(cls, trace: Trace, propagation: Propagation) -> Reference | None:
        """None where the graph has no statistic over units, or parts that are graphs themselves."""
        reduces = any(node in propagation.statistics for node in trace.graph.nodes)
        return cls(trace, propagation) if reduces and trace.is_flat else None

    @classmethod
    def of_model(cls, model: nn.Module, example_inputs: ExampleInputs) -> Reference | None:
        """The same for a model that was not traced yet. Raises ModelError when it cannot be."""
        propagation = Propagation(trace(model, example_inputs))
        propagation.run()
        return cls.of(propagation.trace, propagation)

    @property
    def counts_removed_weights(self) -> bool:
        """Whether layers normalise their weight: its statistics run over removed units here too."""
        return any(self.propagation.standardised(node) is not None for node in self.trace.graph.nodes)

    def run(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[int, Make],
        example_inputs: ExampleInputs,
        removed: Positions,
        dtype: torch.dtype | None,
    ) -> list[Tensor]:
        """The model's outputs.

        Args:
            tensors: state-dict name -> parameter or buffer of the original.
            values: identity of each of them -> what makes the value that operators read in its place.
            example_inputs: what the original was traced on.
            removed: what the cut removes, by parameter and axis.
            dtype: as for :class:`Substitute`.

        Raises:
            ValueError: when the inputs are not those of the graph.
        """
        gone = self._removed_roots(removed)
        numbers = self._numbers(gone) if self.sizes_follow else {}
        inputs = iter(tree_leaves(as_call(example_inputs)))
        known: dict[fx.Node, Any] = {}
        readers = {node: len(node.users) for node in self.trace.graph.nodes}
        with torch.no_grad(), torch.random.fork_rng(devices=[]), Substitute(values, dtype):
            torch.manual_seed(0)
            for node in self.trace.graph.nodes:
                if node.op == "placeholder":
                    known[node] = self._placeholder(node, tensors, inputs)
                elif node.op == "output":
                    return tensors_in(map_arg(node.args[0], known.__getitem__))
                elif operator_name(node) not in CHECKS:
                    known[node] = self._call(node, known, gone, numbers)
                for argument in node.all_input_nodes:
                    readers[argument] -= 1
                    if not readers[argument]:
                        known.pop(argument, None)
        raise ValueError("the graph has no output")

    def _placeholder(self, node: fx.Node, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
        name = self.trace.state.get(node.name)
        if name is not None:
            return tensors[name]
        if node.name in self.trace.values:
            return self.trace.values[node.name]
        value, expected = next(inputs), node.meta.get("val")
        if isinstance(expected, Tensor) and tuple(expected.shape) != tuple(getattr(value, "shape", ())):
            raise ValueError(f"the graph's input {node.name} is of another shape")
        return value

    def _call(
        self,
        node: fx.Node,
        known: Mapping[fx.Node, Any],
        gone: NDArray[np.int64],
        numbers: Mapping[float, float],
    ) -> Any:
        given: Any = map_arg((node.args, node.kwargs), known.__getitem__)
        args, kwargs = given
        if numbers and operator_name(node) in SCALING:
            args = tuple(numbers.get(arg, arg) if isinstance(arg, int | float) else arg for arg in args)
        statistic = self.propagation.statistics.get(node)
        kept = None if statistic is None else self._kept(statistic, gone)
        target: Any = node.target
        if statistic is None or kept is None:
            return target(*args, **kwargs)
        kind = operator_name(node)
        if kind in OVER_CHANNELS | OVER_LAST:
            given = map_arg(arguments(node), known.__getitem__)
            return _normalised(target, given, statistic.axis, kept, follows=kind in OVER_LAST)
        tensors = [tensor.index_select(statistic.axis, kept) for tensor in args[: statistic.tensors]]
        return target(*tensors, *args[statistic.tensors :], **kwargs)

    def _kept(self, statistic: Statistic, gone: NDArray[np.int64]) -> Tensor | None:
        """Positions that stay along the axis of a statistic; None where all do."""
        roots = self.propagation.space.find(statistic.units).numpy()
        stays = ~np.isin(roots, gone)
        return None if stays.all() else torch.from_numpy(np.flatnonzero(stays))

    def _numbers(self, gone: NDArray[np.int64]) -> dict[float, float]:
        """Width of the units of each statistic, and its root and their inverses -> the same after the cut."""
        numbers: dict[float, float] = {}
        for statistic in self.propagation.statistics.values():
            kept = self._kept(statistic, gone)
            if kept is not None:
                full, left = statistic.units.numel(), len(kept)
                numbers |= {full**power: left**power for power in (1, -1, 0.5, -0.5)}
        return numbers

    def _removed_roots(self, removed: Positions) -> NDArray[np.int64]:
        """Representatives of the units that go."""
        roots = [
            self.propagation.space.find(units).numpy()[removed[name][axis]]
            for (name, axis, _), units in self.propagation.ties.items()
            if axis in removed.get(name, {})
        ]
        return np.unique(np.concatenate(roots)) if roots else np.empty(0, dtype=np.int64)


def _normalised(target: Any, given: dict[str, Any], axis: int, kept: Tensor, *, follows: bool) -> Tensor:
    """A normalisation over the kept positions alone, with zeros at the others.

    Args:
        target: the operator.
        given: its arguments by the names of its schema.
        axis: of the units.
        kept: positions that stay.
        follows: whether the operator is given the size that it normalises.
    """
    inputs = given["input"]
    part = dict(given, input=inputs.index_select(axis, kept))
    for key in ("weight", "bias"):
        if part.get(key) is not None:
            part[key] = torch.ops.aten.index_select(part[key], 0, kept)
    if follows:
        part["normalized_shape"] = [len(kept)]
    return torch.zeros_like(inputs).index_copy(axis, kept, target(**part))
