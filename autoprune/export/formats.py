"""The formats: how each is written and checked."""

from __future__ import annotations

import copy
import difflib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from autoprune.cost.runtimes.onnx_program import PACKAGES, onnx_program, require_onnx_form
from autoprune.cost.runtimes.quiet import quiet
from autoprune.errors import ExportError, MissingExtraError, ModelError, UserError
from autoprune.export.checks import run_pt2
from autoprune.export.load import WEIGHTS_FILE, load_exported
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import Candidate
from autoprune.export.subject import Subject, first_line, run
from autoprune.tasks import save_weights

CHECKS = Path(run_pt2.__file__).parent
STATE_TOLERANCE = 1e-5
PT2_TOLERANCE = 1e-5
ONNX_TOLERANCE = 1e-4
INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class Format:
    """One way to hand over a model.

    Attributes:
        file: the file that is written.
        write: writes it into a folder.
        check: loads it back from the folder, and returns the largest difference and a note on it.
        packages: what it needs beyond the core, from the extra of the format's name.
    """

    file: str
    write: Callable[[Subject, Path], None]
    check: Callable[[Subject, Candidate, Path], tuple[float, str]]
    packages: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


def write_state(subject: Subject, folder: Path) -> None:
    """``model.safetensors``: the weights."""
    try:
        save_weights(subject.model, folder / WEIGHTS_FILE)
    except ModelError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise


def check_state(subject: Subject, candidate: Candidate, folder: Path) -> tuple[float, str]:
    """Rebuild from plan and weights: in a fresh process where the base model has a name, else in this one."""
    what, expected = WEIGHTS_FILE, run(subject.model, subject.batches)
    if candidate.spec is None:
        base = copy.deepcopy(candidate.base).cpu()
        found = run(load_exported(folder, base, subject.smallest), subject.batches)
        note = "rebuilt in this process: the base model has no name for a fresh one to build it from"
    else:
        module, classes = f"{run_pt2.__package__}.run_state", candidate.classes
        request = (folder, candidate.spec, "" if classes is None else str(classes))
        stored = {"example": subject.smallest.clone(), **_named(subject.batches)}
        found = run_fresh(what, lambda inputs, outputs: ["-m", module, *request, inputs, outputs], stored)
        note = f"rebuilt in a fresh process from {candidate.spec}"
    return largest_difference(what, expected, found, STATE_TOLERANCE), note


def write_pt2(subject: Subject, folder: Path) -> None:
    """``model.pt2``: the program and its weights, for ``torch.export.load``."""
    # Written straight to a full disk, torch's zip writer ends the whole process.
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(subject.traced.program, buffer)
    (folder / "model.pt2").write_bytes(buffer.getbuffer())


def check_pt2(subject: Subject, _: Candidate, folder: Path) -> tuple[float, str]:
    """Run in a fresh process that cannot import this package."""
    return _check_traced(subject, folder / "model.pt2", CHECKS / "run_pt2.py", PT2_TOLERANCE)


def write_onnx(subject: Subject, folder: Path) -> None:
    """``model.onnx``: for ONNX Runtime; weights over 1.5 GiB go to ``model.onnx.data`` beside it."""
    import onnx

    traced, path = subject.traced, folder / "model.onnx"
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


def check_onnx(subject: Subject, _: Candidate, folder: Path) -> tuple[float, str]:
    """Run in a fresh process that can import neither this package nor torch."""
    return _check_traced(subject, folder / "model.onnx", CHECKS / "run_onnx.py", ONNX_TOLERANCE)


FORMATS: Mapping[str, Format] = {
    "state": Format(WEIGHTS_FILE, write_state, check_state),
    "pt2": Format("model.pt2", write_pt2, check_pt2),
    "onnx": Format("model.onnx", write_onnx, check_onnx, PACKAGES),
}


def default_formats() -> tuple[str, ...]:
    """The formats whose packages are installed."""
    return tuple(name for name, chosen in FORMATS.items() if not chosen.missing())


def formats_named(names: Sequence[str]) -> dict[str, Format]:
    """The formats of these names, each once.

    Raises:
        UserError: for an unknown name, or none at all.
        MissingExtraError: when a format's packages are not installed.
    """
    if isinstance(names, str) or not names:
        raise UserError(f"give a list of one or more formats: there are {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            close = difflib.get_close_matches(name.lower(), FORMATS, n=1)
            hint = f", did you mean {close[0]}?" if close else ":"
            raise UserError(f"unknown format {name!r}{hint} there are {', '.join(FORMATS)}")
    chosen = {name: FORMATS[name] for name in names}
    for name, entry in chosen.items():
        if entry.missing():
            raise MissingExtraError(entry.missing()[0], name)
    return chosen


def _check_traced(subject: Subject, path: Path, script: Path, tolerance: float) -> tuple[float, str]:
    traced = subject.traced
    expected = run(subject.model, traced.batches)
    # -P keeps the script's own folder off the import path.
    found = run_fresh(
        path.name, lambda inputs, outputs: ["-P", script, path, inputs, outputs], _named(traced.batches)
    )
    return largest_difference(path.name, expected, found, tolerance), traced.note


def _named(batches: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(position): batch for position, batch in enumerate(batches)}
