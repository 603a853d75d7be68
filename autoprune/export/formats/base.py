"""What all formats share."""

from __future__ import annotations

import importlib.util
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from autoprune.cost.latency.runtimes import Call, Runtime
from autoprune.export.checks import run_pt2
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, run, subject_of

CHECKS = Path(run_pt2.__file__).parent
INPUT, OUTPUT = "input", "output"


class Format(ABC):
    """A file format for a model.

    Attributes:
        name: on the command line.
        file: the main file, which the card describes.
        packages: packages that it needs beyond the core.
        extra: the extra that installs them.
        usual: whether it is written by default.
    """

    name: str
    file: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    usual: bool = True

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    @abstractmethod
    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Write the file to a folder. Raises ExportError if it cannot be written."""

    @abstractmethod
    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Load the file from the folder; return the largest difference and a note on it.

        Raises ExportError if it does not load, or differs.
        """

    @abstractmethod
    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """The required packages, and Python code that loads the file and runs it on zeros like the sample."""

    @abstractmethod
    def runtime(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> Runtime:
        """The runtime that times the file in the folder, and the original model in the same format."""


class FileRuntime(Runtime):
    """Runs models as files of one format: the exported file, or temporary files of other models."""

    channels_last = False

    def __init__(self, form: FileFormat, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        self.name, self.version, self.in_process = form.engine, form.engine_version(), form.in_process
        self._form, self._subject, self._candidate, self._folder = form, subject, candidate, folder

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        """Load the model's file, written if necessary. Raises ExportError if it cannot be written."""
        if model is self._subject.model:
            return self._form.call(self._folder / self._form.file, inputs)
        with tempfile.TemporaryDirectory(prefix="autoprune-timing-") as name:
            folder, original = Path(name), replace(self._candidate, model=model)
            self._form.write(subject_of(model, self._subject.example), original, folder)
            return self._form.call(folder / self._form.file, inputs)


class FileFormat(Format):
    """A format whose file contains the whole model.

    Attributes:
        engine: the runtime of the file.
        in_process: whether it runs in this process, on no more threads than torch has.
    """

    engine: str
    in_process: bool = True

    def engine_version(self) -> str:
        """The version of the engine; empty if it is part of torch."""
        return ""

    @abstractmethod
    def call(self, file: Path, inputs: tuple[Tensor, ...]) -> Call:
        """Load a file and return a function that runs it once on these inputs."""

    def runtime(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> Runtime:
        """The engine, on files of this format."""
        return FileRuntime(self, subject, candidate, folder)


def run_file(subject: Subject, path: Path, script: str, batches: Sequence[Tensor], tolerance: float) -> float:
    """Run a model's file on batches with a script of ``checks`` in a fresh process; the largest difference.

    Raises ExportError if it does not run, or differs from the pruned model by more than the tolerance.
    """
    expected = run(subject.model, batches)
    actual = run_fresh(
        path.name,
        lambda inputs, outputs: [CHECKS / script, path, inputs, outputs],
        named(batches),
    )
    return largest_difference(path.name, expected, actual, tolerance)


def run_traced(subject: Subject, path: Path, script: str, tolerance: float) -> tuple[float, str]:
    """Run a file of the traced program on its batches; the largest difference, and a note on the batches."""
    traced = subject.traced
    return run_file(subject, path, script, traced.batches, tolerance), traced.note


def named(batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """Batches under the names that the check programs use."""
    return {str(position): batch for position, batch in enumerate(batches)}


def zeros_code(sample: Tensor) -> str:
    """Python code for zeros like the sample."""
    shape = ", ".join(map(str, sample.shape))
    dtype = dtype_name(sample)
    return f"torch.zeros({shape})" if dtype == "float32" else f"torch.zeros({shape}, dtype=torch.{dtype})"


def dtype_name(sample: Tensor) -> str:
    """``float32`` and the like."""
    return str(sample.dtype).removeprefix("torch.")
