"""``model.py``: a plain file that builds the pruned model from the original class and its weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from autoprune.cost.latency.runtimes import EagerRuntime, Runtime
from autoprune.export.formats.base import CHECKS, Format, named, zeros_code
from autoprune.export.formats.factory import factory_text, loaded_here
from autoprune.export.formats.state import write_weights
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, run

TOLERANCE = 1e-5


class PythonFormat(Format):
    """A factory file: all changes besides tensors are written as plain assignments."""

    name = "python"
    file = "model.py"
    usual = False

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Write the factory and the weights. Raises ExportError for a cut that the file cannot say."""
        write_weights(subject, folder)
        (folder / self.file).write_text(factory_text(subject.model, candidate), encoding="utf-8")

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Build in a fresh process without autoprune, unless the original's own code imports it."""
        path, expected = folder / self.file, run(subject.model, subject.batches)
        if candidate.spec is None:
            found = loaded_here(path, subject, candidate)
            note = "run in this process: the base model has no name for a fresh one to build it from"
            return largest_difference(path.name, expected, found, TOLERANCE), note
        found = run_fresh(
            path.name,
            lambda inputs, outputs: [CHECKS / "run_python.py", path, inputs, outputs],
            named(subject.batches),
        )
        alone = found.pop("imports_autoprune").item() == 0
        note = "built in a fresh process" + (
            " without autoprune" if alone else ", whose code imports autoprune"
        )
        return largest_difference(path.name, expected, found, TOLERANCE), note

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """By importing the file."""
        lines = ["import torch", "", "from model import build", "", "network = build()"]
        if candidate.spec is None:
            lines[2:] = [
                "from model import load",
                "",
                "network = load(...)  # the original model, with any weights",
            ]
        lines.append(f"result = network({zeros_code(sample)})")
        return "torch and the code of the original model", "\n".join(lines)

    def runtime(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> Runtime:
        """Plain PyTorch."""
        return EagerRuntime()
