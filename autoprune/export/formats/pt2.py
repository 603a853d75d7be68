"""``model.pt2``: the program and its weights, for ``torch.export.load``."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from autoprune.cost.latency.runtimes import Call, EagerRuntime
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.export.formats.base import FileFormat, run_traced, zeros_code
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject

TOLERANCE = 1e-5


class Pt2Format(FileFormat):
    """A program of torch.export."""

    name = "pt2"
    file = "model.pt2"
    engine = "torch.export program"

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Trace and save."""
        # Written straight to a full disk, torch's zip writer ends the whole process.
        buffer = io.BytesIO()
        with quiet():
            torch.export.save(subject.traced.program, buffer)
        (folder / self.file).write_bytes(buffer.getbuffer())

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process that cannot import this package."""
        return run_traced(subject, folder / self.file, "run_pt2.py", TOLERANCE)

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through ``torch.export.load``."""
        code = f"""import torch

model = torch.export.load("{self.file}").module()
output = model({zeros_code(sample)})"""
        return "torch", code

    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """The program's operators, one by one."""
        with quiet():
            module = torch.export.load(file).module()
        return EagerRuntime().prepare(module, inputs)
