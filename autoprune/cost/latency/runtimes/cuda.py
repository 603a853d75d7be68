"""A GPU, timed by its own clock."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.base import Call, Runtime
from autoprune.errors import ConfigError

BURST_SECONDS = 2e-3
"""The events of a GPU resolve half a microsecond; a burst of calls lasts long beside that."""
_MOST_CALLS, _FIRST_CALLS = 1000, 3


class CudaRuntime(Runtime):
    """PyTorch on the first CUDA or ROCm GPU, timed by events on the device.

    A sample is the mean over a burst of calls: what the GPU takes, or the launching of its kernels where
    that takes longer. Copying inputs to the GPU is not timed.
    """

    name = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise ConfigError("the runtime cuda needs a GPU that torch can use: choose another --runtime")
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.version = str(torch.version.cuda or torch.version.hip)

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """A call runs the model some times on the GPU and gives the mean of their seconds."""
        start, end = (torch.Event("cuda", enable_timing=True) for _ in range(2))

        @torch.inference_mode()
        def burst(calls: int) -> float:
            start.record()
            for _ in range(calls):
                model(*inputs)
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) * 1e-3 / calls

        burst(_FIRST_CALLS)  # kernels are chosen and loaded in the first calls
        began = time.perf_counter()
        burst(_FIRST_CALLS)
        seconds = (time.perf_counter() - began) / _FIRST_CALLS
        calls = min(_MOST_CALLS, max(1, math.ceil(BURST_SECONDS / max(seconds, 1e-9))))
        return lambda: burst(calls)
