"""Which operators of a running model read and produce the units of which group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from autoprune.structure.graph.weighted_calls import CELLS, is_one_layer, weighted_call
from autoprune.structure.groups import Role, Slice, Structure

Key = tuple[str, int, Role, int, str]
"""A read: parameter, its axis, its role, how often that was read before in the same call, and the group."""


@dataclass(frozen=True, eq=False)
class Read:
    """What one operator reads, or gives out, of the units of one group.

    Attributes:
        key: which read it is; the same in every call of the model.
        kind: what the units are.
        index: positions of each unit along the axis of the tensor, ``[width, k]``.
        axis: of the tensor, counted from its end.
        maps: whether the tensor ends in two or more axes of space.
    """

    key: Key
    kind: str
    index: NDArray[np.int64]
    axis: int
    maps: bool

    @property
    def group(self) -> str:
        """Name of the group."""
        return self.key[-1]

    @property
    def produced(self) -> bool:
        """Whether the operator gives the units out."""
        return self.key[2] == "out"

    def units(self, tensor: Tensor, samples: int | None, count: int) -> Tensor:
        """The tensor as ``[samples, width, k, ...]``; what is neither a sample nor of a unit comes last.

        Args:
            tensor: what is read.
            samples: axis of the samples; each may have several rows along it. None for a tensor that is
                the same for all samples: the first axis of the result is then 1.
            count: number of samples.
        """
        axis = tensor.dim() + self.axis
        if samples is None:
            tensor = tensor.unsqueeze(0)
        else:
            rows = (*tensor.shape[:samples], count, -1, *tensor.shape[samples + 1 :])
            tensor = tensor.reshape(rows).movedim(samples, 0)
        moved = tensor.movedim(axis + 1, 1)
        positions = torch.from_numpy(self.index.reshape(-1))
        if len(positions) != moved.shape[1] or not torch.equal(positions, torch.arange(len(positions))):
            moved = moved.index_select(1, positions.to(moved.device))
        width, each = self.index.shape
        return moved.reshape(len(moved), width, each, *moved.shape[2:])


Visit = Callable[[Read, Tensor], Tensor]
"""Is given every read with its tensor, and gives back what is to be used in its place."""


@dataclass(frozen=True)
class _View:
    """A tensor that shows a parameter: whole, transposed, or some of its rows.

    Attributes:
        parameter: its name.
        axes: axis of the tensor -> axis of the parameter.
        first: row of the parameter with which the tensor begins.
        shape: of the tensor.
    """

    parameter: str
    axes: tuple[int, ...]
    first: int
    shape: tuple[int, ...]


class UnitWatch(TorchFunctionMode):
    """Shows every operator's reads of the groups of a model to a visitor, for one call of the model.

    Recurrent operators are run step by step, so that a visitor also sees and changes the states between
    steps. Attention and recurrent modules have to call an operator for each layer and projection.
    """

    def __init__(self, model: nn.Module, structure: Structure, visit: Visit) -> None:
        super().__init__()
        self._visit = visit
        self._times: Counter[tuple[str, int, Role]] = Counter()
        self._kinds = {group.name: group.kind for group in structure.groups}
        self._slices: dict[tuple[str, int, Role], list[tuple[str, Slice]]] = defaultdict(list)
        for group in structure.groups:
            for part in group.slices:
                self._slices[part.parameter, part.axis, part.role].append((group.name, part))
        sliced = {name for name, _, _ in self._slices}
        self._stored = {
            parameter.untyped_storage().data_ptr(): (name, parameter)
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if name in sliced
        }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch in place of every operator."""
        kind, named = getattr(func, "__name__", ""), dict(kwargs or {})
        if is_one_layer(kind, args):
            return self._layer(func, *args)
        if kind in CELLS:
            return self._cell(func, *args)
        return self._weighted(func, kind, args, named)

    def _weighted(self, func: Any, kind: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        call = weighted_call(kind, args, named)
        view = self._view(call.weight) if call is not None and len(args) > call.place else None
        if call is None or view is None:
            return func(*args, **named)
        consumed, produced = call.ends
        spatial = len(view.shape) - 2 if call.is_convolution else 0
        given = self._read(self._reads(view, consumed, "in", call.input, spatial), call.input)
        result = func(*args[: call.place], given, *args[call.place + 1 :], **named)
        return self._read(self._reads(view, produced, "out", result, spatial), result)

    def _cell(self, func: Any, series: Tensor, states: Any, *weights: Tensor) -> Any:
        inner, outer = self._view(weights[0]), self._view(weights[1])
        series = self._read(self._reads(inner, 1, "in", series), series)
        hidden = states if isinstance(states, Tensor) else states[0]
        read = self._read(self._reads(outer, 1, "in", hidden), hidden)
        if func.__name__ == "gru_cell":
            return _gru_step(series, read, hidden, weights, weights[2] is not None)
        return func(series, read if isinstance(states, Tensor) else (read, *states[1:]), *weights)

    def _layer(
        self,
        func: Any,
        series: Tensor,
        states: Any,
        weights: Sequence[Tensor],
        biases: bool,
        layers: int,
        dropout: float,
        training: bool,
        both: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        """One layer in one or both directions: output and final states as the operator gives them."""
        series = series.transpose(0, 1) if batch_first else series
        every = (states,) if isinstance(states, Tensor) else tuple(states)
        each = len(weights) // (2 if both else 1)
        outputs, finals = [], []
        for direction in range(2 if both else 1):
            own = weights[direction * each : (direction + 1) * each]
            given = self._read(self._reads(self._view(own[0]), 1, "in", series), series)
            current = tuple(state[direction : direction + 1] for state in every)
            reads = self._reads(self._view(own[1]), 1, "in", current[0])
            steps: list[Tensor] = []
            for step in (given.flip(0) if direction else given).unbind(0):
                read = self._read(reads, current[0])
                if func.__name__ == "gru":
                    current = (_gru_step(step, read, current[0], own, biases),)
                    steps.append(current[0])
                    continue
                before = read if isinstance(states, Tensor) else (read, *current[1:])
                output, *after = func(step.unsqueeze(0), before, own, biases, 1, 0.0, training, False, False)
                current = tuple(after)
                steps.append(output)
            whole = torch.cat(steps)
            outputs.append(whole.flip(0) if direction else whole)
            finals.append(current)
        output = torch.cat(outputs, dim=2)
        merged = tuple(torch.cat(states) for states in zip(*finals, strict=True))
        return (output.transpose(0, 1) if batch_first else output, *merged)

    def _reads(
        self, view: _View | None, seen: int, role: Role, tensor: Tensor, spatial: int = 0
    ) -> list[Read]:
        """The groups that an operator meets along one axis of a weight, and where they are in the tensor."""
        if view is None:
            return []
        place = view.parameter, view.axes[seen], role
        times = self._times[place]
        self._times[place] += 1
        length = view.shape[seen]
        axis = -1 - spatial
        reads = []
        for group, part in self._slices.get(place, ()):
            index = _visible(part.index, view.first if view.axes[seen] == 0 else 0, length)
            if index is not None:
                # Every group of a grouped convolution has its own run of channels.
                starts = range(0, tensor.shape[axis], length)
                positions = np.concatenate([index + start for start in starts], axis=1)
                key = (*place, times, group)
                reads.append(Read(key, self._kinds[group], positions, axis, spatial > 1))
        return reads

    def _read(self, reads: Sequence[Read], tensor: Tensor) -> Tensor:
        for read in reads:
            tensor = self._visit(read, tensor)
        return tensor

    def _view(self, weight: object) -> _View | None:
        """What a tensor shows of a parameter that is sliced; None where it is another tensor."""
        if not isinstance(weight, Tensor) or weight.layout != torch.strided:
            return None
        found = self._stored.get(weight.untyped_storage().data_ptr())
        if found is None:
            return None
        name, parameter = found
        shape, strides = tuple(weight.shape), weight.stride()
        offset = int(weight.storage_offset() - parameter.storage_offset())
        if strides == parameter.stride() and shape[1:] == parameter.shape[1:]:
            return _View(name, tuple(range(len(shape))), offset // max(strides[0], 1), shape)
        if len(shape) == 2 and strides == parameter.stride()[::-1] and shape == parameter.shape[::-1]:
            return _View(name, (1, 0), 0, shape)
        return None


def _gru_step(series: Tensor, read: Tensor, state: Tensor, weights: Sequence[Tensor], biases: bool) -> Tensor:
    """One step of a GRU that multiplies `read` by its weights and carries `state` on.

    The state's own way to the next step is no read: who reads it there counts there.
    """
    inner = functional.linear(series, weights[0], weights[2] if biases else None).chunk(3, -1)
    outer = functional.linear(read, weights[1], weights[3] if biases else None).chunk(3, -1)
    reset, update = ((one + other).sigmoid() for one, other in zip(inner[:2], outer[:2], strict=True))
    new = (inner[2] + reset * outer[2]).tanh()
    return new + update * (state - new)


def _visible(index: NDArray[np.int64], first: int, length: int) -> NDArray[np.int64] | None:
    """The positions that a view of some rows shows, counted from its first one; None if units differ."""
    inside = (index >= first) & (index < first + length)
    counts = inside.sum(axis=1)
    if counts[0] == 0 or (counts != counts[0]).any():
        return None
    return index[inside].reshape(len(index), -1) - first
