"""A model as an ONNX program: what exporting and the runtimes that read ONNX share."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from autoprune.cost.latency.runtimes.names import exportable
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError, TrialError
from autoprune.structure.graph.error_site import first_line

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""What the extra ``onnx`` brings."""

_NO_FUNCTION = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_NODE = re.compile(r"target=torch\.ops\.([\w.]+)")


def traced(model: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    """The model's program for inputs of exactly these shapes. Raises TrialError when it cannot be traced."""
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(exportable(model), inputs, strict=False)
    except Exception as error:  # torch.export documents no error type
        raise TrialError(f"torch.export cannot follow the model: {first_line(error)}") from error


def onnx_program(
    program: ExportedProgram,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    dynamic_shapes: Any = None,
) -> torch.onnx.ONNXProgram:
    """Convert a traced program, with these names and axes of varying length, as ``torch.onnx.export`` does.

    Raises ExportError, with the operator that has no ONNX form where that is the reason.
    """
    try:
        with quiet():
            converted = torch.onnx.export(
                program,
                (),
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic_shapes,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter documents no error type
        raise ExportError(f"the model cannot be written as ONNX: {_reason(error)}") from error
    if converted is None:
        raise ExportError("the model cannot be written as ONNX: torch.onnx.export returned nothing")
    return converted


def require_onnx_form(model: nn.Module) -> None:
    """Raise ExportError for what the exporter would write wrongly."""
    if any(isinstance(module, nn.LSTM) and module.proj_size for module in model.modules()):
        raise ExportError("ONNX has no LSTM with a projection")


@contextmanager
def onnx_file(model: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[Path]:
    """The model as an ONNX file for inputs of exactly these shapes; it is gone afterwards.

    Raises TrialError when the model cannot be traced or written, with the operator to blame.
    """
    with tempfile.TemporaryDirectory(prefix="autoprune-timing-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        write_onnx_file(model, inputs, path)
        yield path


def write_onnx_file(model: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    """Write what :func:`onnx_file` gives. Raises TrialError as it does."""
    try:
        require_onnx_form(model)
        program = onnx_program(traced(model, inputs))
        with quiet():
            program.save(path)
    except ExportError as error:
        raise TrialError(str(error)) from error


def _reason(error: BaseException) -> str:
    chain = list(_causes(error))
    for pattern in (_NO_FUNCTION, _NODE):
        for cause in chain:
            if found := pattern.search(str(cause)):
                return f"the operator {found[1]} has no ONNX form"
    return first_line(chain[-1])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
