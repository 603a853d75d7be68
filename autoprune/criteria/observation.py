"""Looking on while a model runs: the activations of each unit, where its consumers read them.

What matters about a unit is what those who read it get: after BatchNorm and activation function, and for a
unit with several producers their sum. Every operator that multiplies by an "in" slice of a group is one
*read* of it; a unit of a residual stream has as many as layers that read the stream. Recurrent units are read
by the next layer and, step by step, by their own; heads where the output projection reads them. Where no
operator that is known reads a group, as for queries and keys, what its producers give out stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.config.commands import command_line, flag
from autoprune.criteria.unit_activations import Key, Read, UnitWatch, Visit
from autoprune.errors import CriterionError
from autoprune.structure.groups import Structure
from autoprune.structure.surgery.slim.multihead import slim_multihead_attention
from autoprune.structure.surgery.slim.recurrent import LAYERED


@dataclass(frozen=True, eq=False)
class Observation:
    """One read of the units of a group, in one batch.

    Attributes:
        read: which one.
        tensor: what the operator reads.
        samples: axis of the samples; None where the tensor is the same for all of them.
        count: number of samples in the batch.
    """

    read: Read
    tensor: Tensor
    samples: int | None
    count: int

    def units(self, values: Tensor | None = None) -> Tensor:
        """``[samples or 1, width, k, ...]`` of the tensor (magnitudes if complex), or of values so shaped."""
        if values is None:
            values = self.tensor.abs() if self.tensor.is_complex() else self.tensor
        return self.read.units(values, self.samples, self.count)


@dataclass(frozen=True, eq=False)
class Observer:
    """Knows which reads a model makes. Made by :func:`observer`.

    Attributes:
        model: a copy whose attention and recurrent layers show what happens inside them.
        structure: its groups.
        samples: read -> the axis of the samples; None where the tensor does not depend on them.
        stand_ins: the groups that are seen only where they are produced.
    """

    model: nn.Module
    structure: Structure
    samples: Mapping[Key, int | None]
    stand_ins: frozenset[str]

    def run(self, inputs: Tensor, see: Callable[[Observation], Tensor]) -> Tensor:
        """The model's output; what `see` gives back is read in the place of what it was shown."""

        def visit(read: Read, tensor: Tensor) -> Tensor:
            if read.produced != (read.group in self.stand_ins):
                return tensor
            return see(Observation(read, tensor, self.samples.get(read.key), len(inputs)))

        return _watched(self.model, self.structure, inputs, visit)


def observer(model: nn.Module, structure: Structure, inputs: Tensor) -> Observer:
    """Find out which reads there are, by running the model on one sample and on two.

    Args:
        model: a copy in eval mode. Its attention and recurrent modules are turned, in place, into forms that
            call an operator for each part.
        structure: its groups.
        inputs: a batch, of which the first sample is used.

    Raises:
        CriterionError: for a group none of whose operators is known.
    """
    _reveal(model)
    shapes: list[dict[Key, torch.Size]] = []
    for count in (1, 2):
        seen: dict[Key, torch.Size] = {}

        def note(read: Read, tensor: Tensor, seen: dict[Key, torch.Size] = seen) -> Tensor:
            seen[read.key] = tensor.shape
            return tensor

        with torch.no_grad():
            _watched(model, structure, inputs[:1].expand(count, *inputs.shape[1:]), note)
        shapes.append(seen)
    one, two = shapes
    consumed = {key[-1] for key in one if key[2] == "in"}
    produced = {key[-1] for key in one if key[2] == "out"}
    hidden = next((g.name for g in structure.groups if g.name not in consumed | produced), None)
    if hidden is not None:
        raise CriterionError(
            f"the activations of {hidden!r} cannot be seen, as its layer computes its weights or hides its "
            f"states: keep it whole with {command_line(*flag('--skip', hidden))}, or use criterion taylor"
        )
    samples = {key: _longer(shape, two.get(key, shape)) for key, shape in one.items()}
    return Observer(model, structure, samples, frozenset(produced - consumed))


def first_and_all(batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Iterator[tuple[Tensor, Tensor]]]:
    """The first batch of inputs, and all batches from the first one on."""
    first = next(batches)

    def every() -> Iterator[tuple[Tensor, Tensor]]:
        yield first
        yield from batches

    return first[0], every()


def _reveal(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) is nn.MultiheadAttention:
            slim_multihead_attention(module)
        elif isinstance(module, nn.RNNBase) and type(module) in LAYERED:
            module.__class__ = LAYERED[type(module)]


def _longer(one: torch.Size, two: torch.Size) -> int | None:
    """The axis that is longer for two samples than for one."""
    if len(one) != len(two):
        return None
    return next((axis for axis, sizes in enumerate(zip(one, two, strict=True)) if sizes[0] < sizes[1]), None)


def _watched(model: nn.Module, structure: Structure, inputs: Tensor, visit: Visit) -> Tensor:
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused encoder layer hides what its parts read.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with UnitWatch(model, structure, visit):
            outputs: Tensor = model(inputs.clone())
            return outputs
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
