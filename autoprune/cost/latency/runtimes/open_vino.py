"""OpenVINO on the CPU."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.base import Call, Runtime, require
from autoprune.cost.latency.runtimes.onnx_program import traced
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import TrialError
from autoprune.structure.graph.error_site import first_line

if TYPE_CHECKING:
    import openvino

_PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "f16"}
_NO_RULE = re.compile(r"No conversion rule found for operations: ([^\n]+)")


class OpenVinoRuntime(Runtime):
    """OpenVINO's CPU plugin with its hint for latency, in the precision of the inputs.

    Left to itself the plugin runs a float32 model in bfloat16 where the CPU is quicker so.
    """

    name = "openvino"
    channels_last = False
    in_process = True

    def __init__(self) -> None:
        require("openvino", "openvino")
        import openvino

        self.version = str(openvino.__version__).partition("-")[0]

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """Convert and compile. Raises TrialError with the operators that OpenVINO has no rule for."""
        import openvino

        program = traced(model, inputs)
        try:
            with quiet():
                return request_call(openvino.convert_model(program), inputs)
        except Exception as error:  # its errors share no type
            raise TrialError(f"OpenVINO cannot run the model: {reason(error)}") from error


def request_call(model: openvino.Model, inputs: tuple[Tensor, ...]) -> Call:
    """Compile a model of OpenVINO for inputs of exactly these shapes, and the call that runs it on them."""
    import openvino

    precision = next((tensor.dtype for tensor in inputs if tensor.is_floating_point()), torch.float32)
    model.reshape({i: list(tensor.shape) for i, tensor in enumerate(inputs)})
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
            "INFERENCE_PRECISION_HINT": _PRECISIONS.get(precision, "f32"),
            # The caller chooses the cores.
            "ENABLE_CPU_PINNING": "NO",
        },
    )
    request = compiled.create_infer_request()
    for position, tensor in enumerate(inputs):
        request.set_input_tensor(position, _tensor(tensor))

    def call() -> None:
        request.infer()

    return call


def _tensor(tensor: Tensor) -> object:
    import openvino

    values = tensor.detach().cpu().contiguous()
    if values.dtype is torch.bfloat16:  # numpy has no such type
        array = values.view(torch.int16).numpy()
        return openvino.Tensor(array, openvino.Shape(list(values.shape)), openvino.Type.bf16)
    return openvino.Tensor(values.numpy())


def reason(error: Exception) -> str:
    """What OpenVINO has against a model: the operators that it has no rule for, or its error's first line."""
    found = _NO_RULE.search(str(error))
    return f"it has no rule for {found[1].strip()}" if found else first_line(error)
