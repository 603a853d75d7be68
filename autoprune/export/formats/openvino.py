"""``model.xml`` with ``model.bin``: an OpenVINO model in full precision."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from autoprune.cost.latency.runtimes import Call
from autoprune.cost.latency.runtimes.open_vino import reason, request_call
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError
from autoprune.export.formats.base import FileFormat, dtype_name, run_traced
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject

TOLERANCE = 1e-4


class OpenVinoFormat(FileFormat):
    """OpenVINO's intermediate representation."""

    name = "openvino"
    file = "model.xml"
    packages = ("openvino",)
    extra = "openvino"
    usual = False
    engine = "openvino"

    def engine_version(self) -> str:
        """The version of OpenVINO."""
        return version("openvino")

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Convert the traced program. Raises ExportError with the unsupported operators."""
        import openvino

        program = subject.traced.program
        try:
            with quiet():
                model = openvino.convert_model(program)
                openvino.save_model(model, folder / self.file, compress_to_fp16=False)
        except OSError:
            raise
        except Exception as error:  # its errors share no type
            raise ExportError(
                f"OpenVINO cannot convert the model: {reason(error)}: leave out the openvino format"
            ) from error

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process that can import neither this package nor torch."""
        return run_traced(subject, folder / self.file, "run_openvino.py", TOLERANCE)

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through OpenVINO's core."""
        code = f"""import numpy as np
import openvino

compiled = openvino.Core().compile_model("{self.file}", "CPU")
outputs = compiled(np.zeros({tuple(sample.shape)}, dtype="{dtype_name(sample)}"))"""
        return "openvino", code

    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """An inference request's call."""
        import openvino

        return request_call(openvino.Core().read_model(file), inputs)
