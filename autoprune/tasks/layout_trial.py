"""Test call by call whether a model can run channels-last without its code noticing."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

ROWS = 2
"""Number of samples of a trial."""
TOLERANCE = 1e-3
"""Relative difference of outputs above which a kernel error is assumed rather than rounding."""

# Python attributes of a tensor that its strides do not change.
_ATTRIBUTES = "device dtype is_cuda layout ndim requires_grad shape"
# Values by index alone, whatever the strides are. What draws at random, finds places (argmax, sort) or
# gives Python values is not among them, for the order in memory or the path of the code may depend on it.
_VALUES = (
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul __matmul__ bmm "
    "batch_norm group_norm instance_norm layer_norm local_response_norm normalize "
    "relu relu_ relu6 leaky_relu leaky_relu_ prelu elu elu_ selu selu_ celu gelu silu mish softplus softsign "
    "sigmoid logsigmoid tanh hardswish hardsigmoid hardtanh hardtanh_ threshold softmax log_softmax "
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool2d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d "
    "interpolate upsample pad pixel_shuffle pixel_unshuffle "
    "add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ rsub __isub__ mul mul_ __mul__ __rmul__ "
    "__imul__ multiply div div_ __div__ __truediv__ __rtruediv__ __itruediv__ true_divide neg __neg__ "
    "pow __pow__ square sqrt rsqrt exp log abs clamp clamp_ clamp_min clamp_max maximum minimum "
    "mean sum amax amin var std norm cat concat stack chunk split unbind narrow "
    "permute transpose movedim unsqueeze squeeze expand expand_as detach clone float type_as "
    "zeros_like ones_like new_zeros new_ones new_full new_empty size dim numel __len__ is_floating_point"
)
# The same, but whether the result shares memory with the tensor depends on its strides.
_REGROUPED = "flatten reshape reshape_as ravel contiguous"
# What shows strides, or draws in the order of memory: as without the layout where the strides are the same.
_STRIDED = "view view_as is_contiguous dropout bernoulli_"


class Verdict(Enum):
    """What a trial found: the layout can be used, its output must be put back, or it must be left out."""

    SAME = "same"
    SAME_BUT_OUTPUT = "same but output"
    VISIBLE = "visible"


def tried(model: nn.Module, inputs: Tensor, convert: Callable[[nn.Module], None]) -> Verdict:
    """Run copies of a model with and without a layout, and compare all that its code calls and could see.

    The code is taken to see no difference when it makes the same calls of torch in both; when each of them
    either gives the same values whatever the strides are, or gets tensors of the same strides; and when no
    tensor comes from elsewhere. Where a value of a tensor may decide on the path of the code, the trial
    says nothing of other inputs, and counts as a difference. The model, its state and all random states stay
    as they are.

    Args:
        model: in any mode; it is tried in training and in evaluation.
        inputs: real ones, ``[N, ...]``; the first are taken.
        convert: puts a model into the layout, in place.
    """
    if any(map(_is_compiled, model.modules())):
        return Verdict.VISIBLE
    try:
        with torch.inference_mode(False), _random_states_kept() as drawn:
            rows = inputs[:ROWS].clone()
            plain = _passes(model, rows, lambda _: None)
            changed = _passes(model, rows, convert)
    except Exception:  # a user's code may raise anything; without the layout it is run as ever
        return Verdict.VISIBLE
    if drawn() or plain.calls != changed.calls or plain.is_open or changed.is_open:
        return Verdict.VISIBLE
    return _verdict(plain.outputs, changed.outputs)


def _is_compiled(module: nn.Module) -> bool:
    """Whether its calls cannot be watched: it would be compiled again for the watch."""
    compiled = getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
    return compiled or isinstance(module, torch.jit.ScriptModule)


@dataclass(frozen=True)
class _Passes:
    """Both passes of one copy: all calls, whether the layout may show, outputs in evaluation and training."""

    calls: list[tuple[object, ...]]
    is_open: bool
    outputs: list[Tensor]


def _passes(model: nn.Module, inputs: Tensor, convert: Callable[[nn.Module], None]) -> _Passes:
    memo: dict[int, Any] = {}
    own = copy.deepcopy(model, memo)
    convert(own)
    # Whatever tensors the model has, as attributes too.
    recorder = _CallRecorder(inputs, [*own.parameters(), *own.buffers(), *filter(_is_tensor, memo.values())])
    outputs: list[Tensor] = []
    torch.manual_seed(0)
    # Evaluation first: over few samples BatchNorm blows rounding up, and its statistics would carry that on.
    for training in (False, True):
        own.train(training)
        with torch.set_grad_enabled(training), recorder:
            output = own(inputs)
        recorder.take(output)
        outputs.append(output)
    return _Passes(recorder.calls, recorder.is_open, outputs)


def _verdict(plain: list[Tensor], changed: list[Tensor]) -> Verdict:
    first, other = plain[0].float(), changed[0].float()
    scale = float(first.abs().nan_to_num(0, 0, 0).max()) if first.numel() else 0.0
    if not torch.allclose(first, other, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
        return Verdict.VISIBLE
    if all(a.stride() == b.stride() for a, b in zip(plain, changed, strict=True)):
        return Verdict.SAME
    return Verdict.SAME_BUT_OUTPUT if all(map(_is_plain, plain)) else Verdict.VISIBLE


def _is_plain(tensor: Tensor) -> bool:
    return tensor.stride() == torch.empty(tensor.shape, device="meta").stride()


class _CallRecorder(TorchFunctionMode):
    """Notes every call of torch, with the strides where they could matter."""

    def __init__(self, inputs: Tensor, own: list[Tensor]) -> None:
        super().__init__()
        self.calls: list[tuple[object, ...]] = []
        self.is_open = False
        # Kept alive, so that no other tensor gets the identity of one of them.
        self._known = {id(tensor): tensor for tensor in (inputs, *own)}
        # BatchNorm reads how many batches there were.
        self._counters = {id(tensor) for tensor in own if not tensor.is_floating_point()}
        self._regrouped: dict[int, torch.UntypedStorage] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors((args, kwargs)))
        subject = _subject(func)
        for tensor in tensors:
            self.take(tensor)
        self._note(subject, args, tensors)
        versions = [tensor._version for tensor in tensors]
        result = func(*args, **kwargs)
        for tensor, version in zip(tensors, versions, strict=True):
            # Whether a tensor of the same memory changed as well depends on the strides.
            self.is_open |= tensor._version != version and _storage(tensor) in self._regrouped
        for tensor in _tensors(result):
            self._known[id(tensor)] = tensor
        if subject in _MAY_SHARE:
            for tensor in (*tensors[:1], *_tensors(result)):
                self._regrouped[_storage(tensor)] = tensor.untyped_storage()
        return result

    def take(self, value: object) -> None:
        """Look at a tensor that the code holds: none may come from where this sees nothing."""
        known = type(value) in (Tensor, nn.Parameter) and id(value) in self._known
        self.is_open |= not known or isinstance(getattr(value, "grad_fn", None), BackwardCFunction)

    def _note(self, subject: object, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
        shapes = tuple(tensor.shape for tensor in tensors)
        if subject in _SHOWS_STRIDES:
            self.calls.append((subject, shapes, tuple(map(_strides, tensors))))
            return
        self.calls.append((subject, shapes))
        # A place that a tensor names may decide on the shape.
        by_place = subject is Tensor.__getitem__ and not any(map(_is_tensor, tree_leaves(args[1:])))
        by_count = subject in _VALUE and all(id(tensor) in self._counters for tensor in tensors)
        safe = by_place or by_count or subject in _SHOWS_NOTHING
        self.is_open |= bool(tensors) and not safe


def _subject(func: Callable[..., Any]) -> object:
    """The function itself; of an attribute that is read, its descriptor."""
    return func.__self__ if getattr(func, "__name__", "") == "__get__" else func  # type: ignore[attr-defined]


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Where it begins and distances in memory; none along an axis of one place, where it shows nowhere."""
    steps = [step for step, length in zip(tensor.stride(), tensor.shape, strict=True) if length != 1]
    return (int(tensor.storage_offset()), *map(int, steps))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _tensors(value: Any) -> Iterator[Tensor]:
    return filter(_is_tensor, tree_leaves(value))


def _functions(names: str) -> set[object]:
    """All functions and methods of torch by these names."""
    places = (torch, functional, Tensor, torch._C._nn)
    return {getattr(place, name) for name in names.split() for place in places if hasattr(place, name)}


_SHOWS_STRIDES = _functions(_STRIDED)
_VALUE = _functions("__float__ __int__ item")
_MAY_SHARE = _functions(_REGROUPED)
_SHOWS_NOTHING = _functions(f"{_VALUES} {_REGROUPED}") | {
    getattr(Tensor, name) for name in _ATTRIBUTES.split()
}


@contextmanager
def _random_states_kept() -> Iterator[Callable[[], bool]]:
    """Put the random states back afterwards; gives whether one other than torch's was drawn from."""
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]

    def drawn() -> bool:
        return found

    found = False
    try:
        with torch.random.fork_rng(devices=devices):
            yield drawn
    finally:
        found = random.getstate() != python or _place(np.random.get_state(legacy=False)) != _place(numpy)
        random.setstate(python)
        np.random.set_state(numpy)


def _place(state: Mapping[str, Any]) -> tuple[object, ...]:
    """What says of a state of NumPy's where its sequence is."""
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]
