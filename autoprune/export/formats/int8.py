"""``model.int8.onnx``: the int8 ONNX file, with ranges from calibration data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError, UserError
from autoprune.export.formats.base import INPUT, run_file
from autoprune.export.formats.onnx import OnnxFormat, session_code, write_onnx
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, first_line

NO_TOLERANCE = float("inf")
"""Int8 outputs differ by design: the loss is measured as quality."""


class Int8Format(OnnxFormat):
    """ONNX Runtime's static quantization: weights per channel, activations by their calibrated range.

    It uses the QDQ format (quantize and dequantize operators), which other runtimes read too.
    """

    name = "int8"
    file = "model.int8.onnx"
    usual = False

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Quantize the file of the ``onnx`` format. Raises UserError without calibration data."""
        if not candidate.calibration:
            raise UserError("int8 needs calibration data: give --data, or export from a study")
        with tempfile.TemporaryDirectory(prefix="autoprune-int8-") as name:
            plain = Path(name) / "model.onnx"
            write_onnx(subject, plain)
            try:
                with quiet():
                    _quantize(plain, folder / self.file, candidate.calibration)
            except OSError:
                raise
            except Exception as error:  # its errors share no type
                raise ExportError(f"the model cannot be quantized: {first_line(error)}") from error

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process, and measure the quality after quantization."""
        path = folder / self.file
        difference = run_file(subject, path, "run_onnx.py", subject.traced.batches, NO_TOLERANCE)
        note = f"calibrated on {sum(map(len, candidate.calibration))} samples"
        if candidate.quality is not None:
            float32, int8 = candidate.quality(subject.model), candidate.quality(_Session(path))
            note += f"; {candidate.metric} {int8:.4f}, without quantization {float32:.4f}"
        return difference, note

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through ONNX Runtime."""
        return "onnxruntime", session_code(self.file, sample)


class _Session(nn.Module):
    """An ONNX file as a module with one input and one output, for measuring its quality."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = torch.from_numpy(self._session.run(None, {INPUT: inputs.cpu().numpy()})[0])
        return result


def _quantize(plain: Path, file: Path, calibration: Sequence[Tensor]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it comes without types
        """Yields the calibration batches."""

        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.generic]] = (batch.cpu().numpy() for batch in calibration)

        def get_next(self) -> dict[str, Any] | None:
            """The next batch, None after the last."""
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch}

    prepared = plain.with_suffix(".prepared.onnx")
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(file),
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
