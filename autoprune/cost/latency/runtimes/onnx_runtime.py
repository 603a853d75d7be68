"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.base import Call, Runtime, require
from autoprune.cost.latency.runtimes.names import exportable
from autoprune.cost.latency.runtimes.onnx_program import PACKAGES, onnx_file
from autoprune.cost.latency.runtimes.onnx_resized import resized, shapes_of
from autoprune.errors import TrialError
from autoprune.structure.graph.error_site import first_line


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU provider, with all graph optimisations, on buffers that are bound beforehand."""

    name = "onnxruntime"
    dtypes = ("float32", "float16")
    channels_last = False
    in_process = True

    def __init__(self) -> None:
        require("onnx", *PACKAGES)
        import onnxruntime

        self.version = str(onnxruntime.__version__)

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """Export to ONNX and open a session. Raises TrialError with the operator that either cannot do."""
        with onnx_file(model, inputs) as path:
            return session_call(path, inputs)

    def for_cuts(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[nn.Module], Call]:
        """Export the original model once, and give its program the cut tensors: ten times as fast.

        Where a width is written into the program, the cut model is exported after all.
        """
        import onnx

        with onnx_file(model, inputs) as path:
            original = onnx.load(path)
        outputs = shapes_of(original)

        def prepared(cut: nn.Module) -> Call:
            try:
                call = session_call(resized(original, exportable(cut)).SerializeToString(), inputs, outputs)
                call()
            except Exception:  # its errors share no type
                return self.prepare(cut, inputs)
            return call

        return prepared


def session_call(
    model: Path | bytes, inputs: tuple[Tensor, ...], outputs: Mapping[str, tuple[int, ...]] | None = None
) -> Call:
    """The call of a session on a file, or on its content.

    Raises TrialError when there can be no session, or its outputs have other shapes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # The idle threads of one session would go on spinning while the other one is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no type
        raise TrialError(f"ONNX Runtime cannot run the model: {first_line(error)}") from error
    binding = session.io_binding()
    # Of inputs that the model does not read, the exporter keeps the names.
    for argument, tensor in zip(session.get_inputs(), inputs, strict=True):
        array = tensor.detach().cpu().contiguous().numpy()
        binding.bind_ortvalue_input(argument.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for result in session.get_outputs():
        if outputs is not None and tuple(result.shape) != outputs[result.name]:
            raise TrialError(f"the output {result.name} has another shape than the original model's")
        binding.bind_output(result.name)

    def call() -> None:
        session.run_with_iobinding(binding)

    return call
