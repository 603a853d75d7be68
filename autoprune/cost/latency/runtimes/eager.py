"""PyTorch as it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.base import Call, Runtime


class EagerRuntime(Runtime):
    """PyTorch without gradients, operator by operator, on the device of the inputs."""

    name = "eager"
    in_process = True

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """A call runs the model on the inputs, and waits for an accelerator to finish."""
        accelerators = {tensor.device for tensor in inputs if tensor.device.type != "cpu"}

        @torch.inference_mode()
        def call() -> None:
            model(*inputs)
            for device in accelerators:
                torch.accelerator.synchronize(device)

        return call
