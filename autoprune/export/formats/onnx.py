"""``model.onnx``: for ONNX Runtime; weights over 1.5 GiB go to ``model.onnx.data`` next to it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from autoprune.cost.latency.runtimes import Call
from autoprune.cost.latency.runtimes.onnx_program import PACKAGES, onnx_program, require_onnx_form
from autoprune.cost.latency.runtimes.onnx_runtime import session_call
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError
from autoprune.export.formats.base import INPUT, OUTPUT, FileFormat, dtype_name, run_traced
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, first_line, run

TOLERANCE = 1e-4


class OnnxFormat(FileFormat):
    """A graph of ONNX operators, with a dynamic batch if the model accepts one."""

    name = "onnx"
    file = "model.onnx"
    packages = PACKAGES
    extra = "onnx"
    engine = "onnxruntime"

    def engine_version(self) -> str:
        """The version of ONNX Runtime."""
        return version("onnxruntime")

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Trace, convert, and validate the file with ONNX's checker."""
        write_onnx(subject, folder / self.file)

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process that can import neither this package nor torch."""
        return run_traced(subject, folder / self.file, "run_onnx.py", TOLERANCE)

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through ONNX Runtime."""
        return "onnxruntime", session_code(self.file, sample)

    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """A session's call."""
        return session_call(file, inputs)


def write_onnx(subject: Subject, path: Path) -> None:
    """Write and check an ONNX file. Raises ExportError with the reason if it cannot be converted."""
    import onnx

    traced = subject.traced
    outputs = len(run(subject.model, traced.batches[:1]))
    names = [OUTPUT] if outputs == 1 else [f"{OUTPUT}_{i}" for i in range(outputs)]
    try:
        require_onnx_form(subject.model)
        shapes = ({0: "batch"},) if traced.dynamic else None
        program = onnx_program(traced.program, inputs=[INPUT], outputs=names, dynamic_shapes=shapes)
        with quiet():
            program.save(path)
        onnx.checker.check_model(str(path), full_check=True)
    except OSError:
        raise
    except Exception as error:  # the exporter and the checker share no error type
        raise ExportError(f"{first_line(error)}: leave out the onnx format") from error


def session_code(file: str, sample: Tensor) -> str:
    """Python code that runs a file on zeros in ONNX Runtime."""
    return f"""import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
inputs = np.zeros({tuple(sample.shape)}, dtype="{dtype_name(sample)}")
outputs = session.run(None, {{"{INPUT}": inputs}})"""
