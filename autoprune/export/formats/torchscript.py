"""``model.ts.pt``: a traced TorchScript module, for programs that still load one with ``torch.jit.load``.

PyTorch has deprecated TorchScript in favour of ``torch.export``: ``pt2`` is the format for anything new.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from autoprune.cost.latency.runtimes import Call, EagerRuntime
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError
from autoprune.export.formats.base import FileFormat, run_file, zeros_code
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import TRACED_BATCH, Subject, batch_of, first_line

TOLERANCE = 1e-5


class TorchScriptFormat(FileFormat):
    """A trace: what the model computed for one batch, with the control flow that this batch took."""

    name = "torchscript"
    file = "model.ts.pt"
    usual = False
    engine = "TorchScript"

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Trace and save. Raises ExportError for a model whose output cannot be traced."""
        example = subject.example if subject.fixed else batch_of(subject.example, TRACED_BATCH)
        buffer = io.BytesIO()
        try:
            with quiet(), torch.no_grad():
                trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
                torch.jit.save(trace(subject.model, (example,), check_trace=False), buffer)
        except Exception as error:  # the tracer documents no error type
            raise ExportError(f"TorchScript cannot trace the model: {first_line(error)}: use pt2") from error
        (folder / self.file).write_bytes(buffer.getbuffer())

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process that cannot import this package, on batches of other sizes too."""
        path = folder / self.file
        difference = run_file(subject, path, "run_torchscript.py", subject.batches, TOLERANCE)
        note = "any batch size"
        if subject.fixed:
            note = f"batch size fixed at {len(subject.example)}: {subject.fixed}"
        return difference, note

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through ``torch.jit.load``."""
        code = f"""import torch

model = torch.jit.load("{self.file}")
output = model({zeros_code(sample)})"""
        return "torch, or libtorch in C++", code

    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """TorchScript's interpreter."""
        with quiet():
            module = torch.jit.load(file)  # type: ignore[no-untyped-call]
        return EagerRuntime().prepare(module, inputs)
