"""Writing an export folder: all files are made and checked before any of them appears in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from autoprune.cost import Setting
from autoprune.errors import ExportError, UserError
from autoprune.export.card import CRITERION_FILE, CardContext, card_text
from autoprune.export.formats import FORMATS, formats_named
from autoprune.export.latency import file_latency
from autoprune.export.load import PLAN_FILE
from autoprune.export.records import Card, ExportCandidate, Exported
from autoprune.export.subject import subject_of
from autoprune.export.zeros import confirm_zeros
from autoprune.structure.masks import MaskPlan
from autoprune.utils.atomic_files import put_in_place

CONFIG_FILE = "config.toml"
CARD_FILE = "README.md"


def export_candidate(
    candidate: ExportCandidate,
    card: Card,
    config_toml: str,
    to: Path,
    formats: Sequence[str],
    *,
    timing: Setting | None = None,
) -> tuple[Exported, ...]:
    """Write a pruned model, load every file back and compare its outputs with the model's.

    The folder gets ``plan.json``, ``config.toml``, ``README.md``, where something was learned
    ``criterion.json``, and one file a format, each replaced in
    one step and only after all checks passed. Other files in it are left alone.

    Args:
        candidate: the model.
        card: numbers for the model card.
        config_toml: the settings that made it, as TOML text.
        to: folder to write to; made if need be.
        formats: names from ``FORMATS``.
        timing: threads and seconds of the timing of each file; None where none is timed.

    Returns:
        What was written, one entry a format.

    Raises:
        UserError: for an unknown format, or a folder that cannot be used.
        MissingExtraError: when a format needs a package that is not installed.
        ExportError: when a file cannot be written, does not load back, or differs.
    """
    chosen = formats_named(formats)
    to = Path(to)
    with _staging(to) as staging, _disk_errors(to):
        subject = subject_of(candidate.model, candidate.example)
        (staging / PLAN_FILE).write_text(candidate.plan.to_json(), encoding="utf-8")
        (staging / CONFIG_FILE).write_text(config_toml, encoding="utf-8")
        if candidate.criterion:
            (staging / CRITERION_FILE).write_text(candidate.criterion, encoding="utf-8")
        exported = []
        for name, entry in chosen.items():
            entry.write(subject, candidate, staging)
            difference, note = entry.check(subject, candidate, staging)
            if isinstance(candidate.plan, MaskPlan):
                note += "; " + confirm_zeros(name, staging / entry.file, subject.model)
            latency = None
            if timing is not None:
                latency = file_latency(entry, subject, candidate, staging, timing)
            exported.append(Exported(name, to / entry.file, difference, note, latency))
        context = CardContext(
            sample=subject.smallest,
            exported=tuple(exported),
            left=tuple(f.file for n, f in FORMATS.items() if n not in chosen and (to / f.file).exists()),
            day=datetime.now(UTC).date().isoformat(),
        )
        (staging / CARD_FILE).write_text(card_text(card, candidate, context), encoding="utf-8")
        # The card goes last: it describes files that are there.
        for file in sorted(staging.iterdir(), key=lambda path: (path.name == CARD_FILE, path.name)):
            put_in_place(file, to / file.name)
    return tuple(exported)


@contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """A hidden folder inside the target.

    Inside rather than beside it, for a target may be a mount point, and only a move within one file
    system is a single step.
    """
    made = not to.exists()
    try:
        to.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".autoprune-", dir=to))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{to} cannot be a folder, a file is in the way: choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {to} ({error.strerror}): choose another folder") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made:
            with suppress(OSError):  # it holds the export
                to.rmdir()


@contextmanager
def _disk_errors(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"cannot write {to} ({reason}): make room or choose another folder") from error
