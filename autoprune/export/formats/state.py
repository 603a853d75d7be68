"""``model.safetensors``: the weights, which with the plan or ``loader.py`` give the model again."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

from torch import Tensor

from autoprune.cost.latency.runtimes import EagerRuntime, Runtime
from autoprune.errors import DiskError, ExportError
from autoprune.export.checks import run_pt2
from autoprune.export.formats.base import CHECKS, Format, named, zeros_code
from autoprune.export.formats.factory import loaded_here, loader_text, original_text
from autoprune.export.load import WEIGHTS_FILE, load_exported
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, run
from autoprune.tasks import save_weights
from autoprune.utils.printable import code_span

TOLERANCE = 1e-5
LOADER_FILE = "loader.py"
_HEAD = "from pathlib import Path\n\nfrom torch import nn\n\n\n"


class StateFormat(Format):
    """Weights alone. autoprune rebuilds the model by the plan; ``loader.py`` needs torch alone."""

    name = "state"
    file = WEIGHTS_FILE

    def write(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> None:
        """Write the weights, and the loader unless the cut is one that it cannot say."""
        write_weights(subject, folder)
        text = _loader(candidate)
        if text:
            (folder / LOADER_FILE).write_text(text, encoding="utf-8")

    def check(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """Rebuild by the plan and by the loader, in fresh processes where the base model has a name.

        A loader that does not give the pruned model is taken away, and the note says why.
        """
        difference, note = self._rebuilt(subject, candidate, folder)
        loader = folder / LOADER_FILE
        if not loader.is_file():
            return difference, note
        try:
            loaded = _loaded(subject, candidate, loader)
        except ExportError as error:
            loader.unlink()
            return difference, f"{note}; it has no `{LOADER_FILE}`: {error}"
        return max(difference, loaded), f"{note}, by the plan and by `{LOADER_FILE}`"

    def _rebuilt(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> tuple[float, str]:
        """By autoprune, from the plan."""
        expected = run(subject.model, subject.batches)
        if candidate.spec is None:
            base = copy.deepcopy(candidate.base).cpu()
            found = run(load_exported(folder, base, subject.smallest), subject.batches)
            note = "rebuilt in this process: the base model has no name for a fresh one to build it from"
        else:
            module, classes = f"{run_pt2.__package__}.run_state", candidate.classes
            request = (folder, candidate.spec, "" if classes is None else str(classes))
            stored = {"example": subject.smallest.clone(), **named(subject.batches)}
            found = run_fresh(
                self.file, lambda inputs, outputs: ["-m", module, *request, inputs, outputs], stored
            )
            note = f"rebuilt in a fresh process from {code_span(candidate.spec)}"
        return largest_difference(self.file, expected, found, TOLERANCE), note

    def loading(self, candidate: ExportCandidate, sample: Tensor) -> tuple[str, str]:
        """Through :func:`autoprune.export.load_exported`."""
        classes = "" if candidate.classes is None else f", classes={candidate.classes}"
        lines = [
            "import torch",
            "from autoprune.export import load_exported",
            "from autoprune.tasks import load_model",
            "",
            f"base = load_model({json.dumps(candidate.spec)}{classes})",
            f'model = load_exported(".", base, {zeros_code(sample)})',
        ]
        if candidate.spec is None:
            lines[2:5] = ["", "base = ...  # the original model, with any weights"]
        needs = "autoprune"
        if _loader(candidate):
            needs += (
                f"; or torch and the code of the original model: `load(base)` of `{LOADER_FILE}` "
                "takes the original model, with any weights, and gives this one"
            )
        return needs, "\n".join(lines)

    def runtime(self, subject: Subject, candidate: ExportCandidate, folder: Path) -> Runtime:
        """Plain PyTorch."""
        return EagerRuntime()


def _loader(candidate: ExportCandidate) -> str:
    """The text of the loader; empty for a cut that it cannot say."""
    try:
        return loader_text(candidate.model, candidate)
    except ExportError:
        return ""


def _loaded(subject: Subject, candidate: ExportCandidate, loader: Path) -> float:
    """The largest difference between the loader's model and the pruned model."""
    expected = run(subject.model, subject.batches)
    if candidate.spec is None:
        return largest_difference(LOADER_FILE, expected, loaded_here(loader, subject, candidate), TOLERANCE)
    with tempfile.TemporaryDirectory(prefix="autoprune-original-") as name:
        original = Path(name) / "original.py"
        original.write_text(_HEAD + original_text(candidate) + "\n", encoding="utf-8")
        found = run_fresh(
            LOADER_FILE,
            lambda inputs, outputs: [CHECKS / "run_python.py", loader, inputs, outputs, original],
            named(subject.batches),
        )
    del found["imports_autoprune"]
    return largest_difference(LOADER_FILE, expected, found, TOLERANCE)


def write_weights(subject: Subject, folder: Path) -> None:
    """Write ``model.safetensors``. Raises OSError when the disk takes no more."""
    try:
        save_weights(subject.model, folder / WEIGHTS_FILE)
    except DiskError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise
