"""How a model is run when it is timed, and for how long."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes import DTYPES, EagerRuntime, Runtime
from autoprune.cost.latency.timing import Clock
from autoprune.errors import ConfigError

Inputs = tuple[Tensor, ...]

_FINE_SECONDS = 1e-6
"""A clock of this resolution times calls of a millisecond well."""


@dataclass(frozen=True)
class Setting:
    """What runs the model, in which form, and for how long.

    Attributes:
        runtime: what runs it.
        threads: within an operator; None for what torch uses now.
        dtype: floating type of model and inputs, a name from ``DTYPES``; None for the model's own.
        channels_last: whether images and their weights lie in memory with the channels innermost.
        max_seconds: cap on one window; a window in which the reference drifts is repeated once.

    Raises ConfigError for a number or type out of range, or one that the runtime does not know.
    """

    runtime: Runtime = field(default_factory=EagerRuntime)
    threads: int | None = None
    dtype: str | None = None
    channels_last: bool = False
    max_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}: give 1 or more")
        name = self.runtime.name
        if self.dtype is not None and self.dtype not in self.runtime.dtypes:
            raise ConfigError(
                f"the runtime {name} times no {self.dtype}: use one of {', '.join(self.runtime.dtypes)}"
            )
        if self.channels_last and not self.runtime.channels_last:
            raise ConfigError(f"the runtime {name} lays memory out by itself: leave channels_last out")

    @property
    def thread_count(self) -> int:
        """Threads within an operator."""
        return torch.get_num_threads() if self.threads is None else self.threads

    def stopwatch(self, inputs: Inputs) -> Clock:
        """What samples are timed by: the CPU time of this process where a call is one busy thread of it.

        Elsewhere, and where the system counts CPU time coarsely (Windows), the time on the wall.
        """
        one_thread = self.runtime.in_process and self.thread_count == 1
        on_cpu = all(tensor.device.type == "cpu" for tensor in inputs)
        fine = time.get_clock_info("process_time").resolution <= _FINE_SECONDS
        return time.process_time_ns if one_thread and on_cpu and fine else time.perf_counter_ns

    def form(self, model: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
        """The model and the inputs as they are run: themselves where nothing is to change, else copies."""
        device, dtype = self.runtime.device, self._dtype
        if device is None and dtype is None and not self.channels_last:
            return model, inputs
        changed = copy.deepcopy(model).to(device=device, dtype=dtype)
        if self.channels_last:
            changed = changed.to(memory_format=torch.channels_last)
        return changed, self.given(inputs)

    def given(self, inputs: Inputs) -> Inputs:
        """The inputs as they are run."""
        return tuple(map(self._input, inputs))

    def _input(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.runtime.device or tensor.device)
        if self._dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(self._dtype)
        if self.channels_last and tensor.ndim == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    @property
    def _dtype(self) -> torch.dtype | None:
        return None if self.dtype is None else DTYPES[self.dtype]


def inputs_text(inputs: Inputs) -> str:
    """Shapes and types, such as ``"1x3x224x224 float32, 1x20 int64"``."""
    return ", ".join(
        f"{'x'.join(map(str, tensor.shape))} {str(tensor.dtype).removeprefix('torch.')}" for tensor in inputs
    )
