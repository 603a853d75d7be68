"""``model.safetensors``: the weights, which with the plan give the model again."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from torch import Tensor

from autoprune.cost.runtimes import EagerRuntime, Runtime
from autoprune.errors import DiskError
from autoprune.export.checks import run_pt2
from autoprune.export.formats.base import Format, named, zeros_code
from autoprune.export.load import WEIGHTS_FILE, load_exported
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import Candidate
from autoprune.export.subject import Subject, run
from autoprune.tasks import save_weights

TOLERANCE = 1e-5


class StateFormat(Format):
    """Weights alone; autoprune rebuilds the model from its name and the plan."""

    name = "state"
    file = WEIGHTS_FILE

    def write(self, subject: Subject, candidate: Candidate, folder: Path) -> None:
        """Write the weights."""
        write_weights(subject, folder)

    def check(self, subject: Subject, candidate: Candidate, folder: Path) -> tuple[float, str]:
        """Rebuild in a fresh process where the base model has a name, else in this one."""
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
            note = f"rebuilt in a fresh process from {candidate.spec}"
        return largest_difference(self.file, expected, found, TOLERANCE), note

    def loading(self, candidate: Candidate, sample: Tensor) -> tuple[str, str]:
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
            lines[2:5] = ["", "base = ...  # the uncut model, with any weights"]
        return "autoprune", "\n".join(lines)

    def runtime(self, subject: Subject, candidate: Candidate, folder: Path) -> Runtime:
        """PyTorch as it is."""
        return EagerRuntime()


def write_weights(subject: Subject, folder: Path) -> None:
    """Write ``model.safetensors``. Raises OSError when the disk takes no more."""
    try:
        save_weights(subject.model, folder / WEIGHTS_FILE)
    except DiskError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise
