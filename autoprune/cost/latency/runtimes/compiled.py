"""PyTorch's compiler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.base import Call, Runtime
from autoprune.cost.latency.runtimes.onnx_program import traced
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import TrialError
from autoprune.structure.graph.error_site import first_line


class CompiledRuntime(Runtime):
    """``torch.compile`` with static shapes and the default backend, on the device of the inputs."""

    name = "compile"
    in_process = True

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """Compile at once; a call runs the compiled model. Raises TrialError when it does not compile."""
        # A traced model has a forward of its own. Compiled as they are, many models of one class would share
        # one, and after eight of them torch gives up compiling it without a word and runs it eagerly.
        module = traced(model, inputs).module()
        compiled = torch.compile(module, dynamic=False, fullgraph=True)
        accelerators = {tensor.device for tensor in inputs if tensor.device.type != "cpu"}

        @torch.inference_mode()
        def call() -> None:
            compiled(*inputs)
            for device in accelerators:
                torch.accelerator.synchronize(device)

        try:
            with quiet():
                call()
        except Exception as error:  # the backend raises errors of many types
            raise TrialError(f"torch.compile cannot compile the model: {first_line(error)}") from error
        return call
