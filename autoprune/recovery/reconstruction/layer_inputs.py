"""What layers read: the inputs of linear, convolutional and recurrent layers, seen while a model runs.

Operators are watched rather than modules, so that a weight which a function applies is seen as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from autoprune.structure.graph.trace import shell
from autoprune.structure.graph.weighted_calls import (
    CELLS,
    PRODUCTS,
    TRANSPOSED,
    WeightedCall,
    is_one_layer,
    weighted_call,
)
from autoprune.structure.surgery.slim import slim
from autoprune.structure.surgery.slim.recurrent import LAYERED


@dataclass(frozen=True)
class Window:
    """How a convolution slides: per spatial axis, the kernel's size, stride, dilation and padding.

    Attributes:
        kernel: elements of the kernel along each axis.
        stride: steps between positions.
        dilation: steps between the elements of the kernel.
        padding: zeros before and after, along each axis.
        groups: of channels.
        transposed: whether the weight is that of a transposed convolution, ``[in, out, ...]``.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int
    transposed: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """One call in which a weight meets its input.

    Attributes:
        weight: state-dict name of the weight.
        rows: the rows of it that the call uses, from the first to before the second.
        bias: state-dict name of what is added to the result, if that is a parameter with these rows.
        inputs: ``[..., C]``; for convolutions ``[N, C, ...]``.
        window: of a convolution, otherwise None.
    """

    weight: str
    rows: tuple[int, int]
    bias: str | None
    inputs: Tensor
    window: Window | None = None

    @property
    def groups(self) -> int:
        """Parts of the channels that different rows read."""
        return 1 if self.window is None else self.window.groups

    @property
    def axis(self) -> int:
        """The axis of the weight that is summed over."""
        return 0 if self.window is not None and self.window.transposed else 1

    @property
    def elements(self) -> int:
        """Elements of the kernel."""
        return 1 if self.window is None else math.prod(self.window.kernel)

    def samples(self, unfolded: bool, most: int, seed: int) -> Tensor:
        """What single results are computed from, ``[groups, n, features]``, in at least float32.

        Args:
            unfolded: a convolution's features are all its kernel covers, ``C / groups`` times the kernel's
                elements; otherwise those of one position, ``C / groups``.
            most: where there are more samples, so many are drawn (at least one of every image).
            seed: of the draw; equal seeds draw equal positions.
        """
        inputs = self.inputs if self.inputs.dtype == torch.float64 else self.inputs.float()
        if self.window is None:
            flat = inputs.reshape(-1, inputs.shape[-1])
            return flat[_drawn(len(flat), most, seed, flat.device)].unsqueeze(0)
        images, channels = inputs.shape[:2]
        here = max(1, most // max(1, images))
        if unfolded:
            columns = _columns(inputs, self.window, here, seed)
        else:
            flat = inputs.flatten(2)
            columns = flat[:, :, _drawn(flat.shape[2], here, seed, flat.device)].unsqueeze(3)
        # [N, C, positions, elements] to [groups, N * positions, C / groups * elements]
        parts = torch.unflatten(columns, 1, (self.groups, channels // self.groups))
        samples: Tensor = parts.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)
        return samples


See = Callable[[Reading], bool]
"""Receives a reading; returns whether it has put other values into the weight."""


class InputWatch(TorchFunctionMode):
    """While active, reports every reading of a named weight.

    Args:
        names: identity of a parameter -> its state-dict name.
        see: called with every reading, after the operator has run; where it has changed the weight, the
            operator runs again, and what it then gives is taken.

    Attributes:
        otherwise: parameter -> the operators that use it in another way.
        normalised: the weights whose results went straight into a batch normalisation.
    """

    def __init__(self, names: Mapping[int, str], see: See) -> None:
        super().__init__()
        self.otherwise: dict[str, set[str]] = {}
        self.normalised: set[str] = set()
        self._names = names
        self._see = see
        self._latest: tuple[Any, str] = (None, "")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch in place of every operator."""
        named = dict(kwargs or {})
        result = func(*args, **named)
        kind = getattr(func, "__name__", "")
        readings = list(self._readings(kind, args, named, result))
        for place in range(len(readings)):
            if self._see(readings[place]):
                result = func(*args, **named)
                readings = list(self._readings(kind, args, named, result))
        if len(readings) == 1:
            self._latest = (result, readings[0].weight)
        elif kind == "batch_norm" and args and args[0] is self._latest[0]:
            self.normalised.add(self._latest[1])
        if kind not in _HARMLESS:
            read = {name for reading in readings for name in (reading.weight, reading.bias)}
            self._note_others(kind, read, (args, named), result)
        return result

    def _note_others(self, kind: str, read: Set[str | None], given: Any, result: Any) -> None:
        for leaf in tree_leaves(given):
            if isinstance(leaf, Tensor) and leaf is not result:
                name = self._name(leaf)
                if name is not None and name not in read:
                    self.otherwise.setdefault(name, set()).add(kind)

    def _readings(
        self, kind: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Any
    ) -> Iterator[Reading]:
        call = weighted_call(kind, args, named)
        if call is not None and kind not in PRODUCTS:
            window = _window(call) if call.is_convolution else None
            yield from self._reading(
                call.weight, call.given.get("bias"), _batched(call.input, window), window
            )
        elif is_one_layer(kind, args):
            yield from self._recurrent(args, result)
        elif kind in CELLS:
            series, states, *weights = args
            state = states[0] if kind == "lstm_cell" else states
            biases = [*weights[2:], None, None]
            for weight, bias, inputs in zip(weights, biases, (series, state), strict=False):
                yield from self._reading(weight, bias, inputs, None)

    def _recurrent(self, args: tuple[Any, ...], result: Any) -> Iterator[Reading]:
        """One recurrent layer in one or both directions; its states are those of the step before."""
        series, states, weights, has_biases = args[:4]
        first = states[0] if isinstance(states, list | tuple) else states
        directions, time = (2 if args[7] else 1), (1 if args[8] else 0)
        size = len(weights) // directions
        for direction, output in enumerate(result[0].chunk(directions, -1)):
            own = weights[direction * size : (direction + 1) * size]
            start, steps = first[direction].unsqueeze(time), output.shape[time] - 1
            before = [start, output.narrow(time, 0, steps)]
            if direction == 1:
                before = [output.narrow(time, 1, steps), start]
            biases = own[2:4] if has_biases else (None, None)
            yield from self._reading(own[0], biases[0], series, None)
            yield from self._reading(own[1], biases[1], torch.cat(before, time), None)

    def _reading(self, weight: Tensor, bias: Any, inputs: Tensor, window: Window | None) -> Iterator[Reading]:
        name = self._name(weight)
        if name is None:
            return
        rows = _rows(weight)
        if rows is not None:
            own = self._name(bias) if isinstance(bias, Tensor) and _rows(bias) == rows else None
            yield Reading(name, rows, own, inputs, window)

    def _name(self, tensor: Tensor) -> str | None:
        name = self._names.get(id(tensor))
        return self._names.get(id(tensor._base)) if name is None and tensor._base is not None else name


def watchable(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with the same tensors, in which no layer hides in a larger operator."""
    copied = shell(model).eval()
    for module in copied.modules():
        if type(module) is nn.MultiheadAttention:
            slim(module)
        elif type(module) in LAYERED:
            module.__class__ = LAYERED[type(module)]  # type: ignore[index]
    return copied


def names_in(model: nn.Module) -> dict[int, str]:
    """Identity of every parameter -> its state-dict name."""
    return {id(parameter): name for name, parameter in model.named_parameters()}


_ASKING = {
    *("__get__", "__len__", "data_ptr", "dim", "element_size", "is_complex", "is_contiguous"),
    *("is_floating_point", "ndimension", "nelement", "numel", "size", "stride"),
}
_SLICING = {"__getitem__", "chunk", "detach", "narrow", "split", "split_with_sizes", "tensor_split", "unbind"}
_HARMLESS = frozenset(_ASKING | _SLICING)
"""What asks for no value, or takes rows out of a weight that a layer then uses."""


def _rows(tensor: Tensor) -> tuple[int, int] | None:
    """Which rows of a parameter a tensor is; None where it is another part of it."""
    base = tensor._base
    if base is None:
        return 0, len(tensor)
    if tensor.shape[1:] != base.shape[1:] or tensor.stride() != base.stride():
        return None
    first = int(tensor.storage_offset() - base.storage_offset()) // base.stride(0)
    return first, first + len(tensor)


def _batched(inputs: Tensor, window: Window | None) -> Tensor:
    if window is None or inputs.dim() == len(window.kernel) + 2:
        return inputs
    return inputs.unsqueeze(0)


def _window(call: WeightedCall) -> Window:
    bound = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **call.given}
    kernel = tuple(call.weight.shape[2:])
    dilation, stride = (_each(bound[key], len(kernel)) for key in ("dilation", "stride"))
    padding = bound["padding"]
    if padding == "same":
        total = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        around = tuple((part // 2, part - part // 2) for part in total)
    else:
        around = tuple((part, part) for part in _each(0 if padding == "valid" else padding, len(kernel)))
    return Window(kernel, stride, dilation, around, int(bound["groups"]), call.kind in TRANSPOSED)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    if not isinstance(value, Sequence):
        return (int(value),) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def _columns(inputs: Tensor, window: Window, most: int, seed: int) -> Tensor:
    """What the kernel covers at drawn positions, ``[N, C, positions, elements]``."""
    padded = functional.pad(inputs, [part for pair in reversed(window.padding) for part in pair])
    sizes = padded.shape[2:]
    axes = list(zip(sizes, window.kernel, window.stride, window.dilation, strict=True))
    counts = [(size - step * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, step in axes]
    positions = _drawn(math.prod(counts), most, seed, inputs.device)
    elements = torch.arange(math.prod(window.kernel), device=inputs.device)
    where = torch.zeros(len(positions), len(elements), dtype=torch.long, device=inputs.device)
    starts, offsets = torch.unravel_index(positions, counts), torch.unravel_index(elements, window.kernel)
    for position, element, (size, _, stride, step) in zip(starts, offsets, axes, strict=True):
        where = where * size + position[:, None] * stride + element[None, :] * step
    return torch.unflatten(padded.flatten(2)[:, :, where.flatten()], 2, where.shape)


def _drawn(count: int, most: int, seed: int, device: torch.device) -> Tensor:
    """Positions ``0 ... count - 1``, or `most` of them drawn without replacement, in order."""
    if count <= most:
        return torch.arange(count, device=device)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]
    return drawn.sort().values.to(device)
