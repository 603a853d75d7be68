"""``model.pte``: an ExecuTorch program for phones and boards, lowered to XNNPACK."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from autoprune.cost.latency.runtimes import Call
from autoprune.cost.latency.runtimes.names import exportable
from autoprune.cost.latency.runtimes.quiet import quiet
from autoprune.errors import ExportError
from autoprune.export.formats.base import FileFormat, run_file, zeros_code
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, first_line

TOLERANCE = 1e-4


class ExecuTorchFormat(FileFormat):
    """A program with ahead-of-time memory planning, which fixes its batch size."""

    name = "executorch"
    file = "model.pte"
    packages = ("executorch",)
    extra = "executorch"
    usual = False
    engine = "executorch"
    in_process = False  # XNNPACK has its own threads

    def engine_version(self) -> str:
        """The version of ExecuTorch."""
        return version("executorch")

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Trace the smallest batch, lower it, and save it. Raises ExportError if it cannot be lowered."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        inputs = torch.zeros_like(subject.smallest)
        try:
            with quiet():
                program = torch.export.export(exportable(subject.model), (inputs,), strict=False)
                lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                content = lowered.to_executorch().buffer
        except Exception as error:  # its errors share no type
            raise ExportError(
                f"ExecuTorch cannot lower the model: {first_line(error)}: leave out the executorch format"
            ) from error
        (folder / self.file).write_bytes(content)

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Run in a fresh process that cannot import this package."""
        path, batches = folder / self.file, (subject.smallest,)
        difference = run_file(subject, path, "run_executorch.py", batches, TOLERANCE)
        return difference, f"batch size fixed at {len(subject.smallest)} by ahead-of-time memory planning"

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """ExecuTorch's Python runtime; phones have native ones."""
        code = f"""import torch
from executorch.runtime import Runtime

method = Runtime.get().load_program("{self.file}").load_method("forward")
outputs = method.execute([{zeros_code(sample)}])"""
        return "executorch", code

    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """A method's call."""
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(file).load_method("forward")
        arguments = list(inputs)

        def call() -> None:
            method.execute(arguments)

        return call
