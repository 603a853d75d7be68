"""Writing an export folder: all files are written and checked before any of them appears in it."""

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
    """Write a pruned model, load every file and compare its outputs with the model's.

    The folder gets ``plan.json``, ``config.toml``, ``README.md``, ``criterion.json`` if a criterion was
    learned, and one file per format. Each is replaced atomically after all checks have passed. Other files in
    the folder are not touched.

    Args:
        candidate: the model.
        card: numbers for the model card.
        config_toml: the settings of the search, as TOML.
        to: folder to write to; created if necessary.
        formats: names from ``FORMATS``.
        timing: threads and seconds of the timing of each file; None where none is timed.

    Returns:
        One entry per written format.

    Raises:
        UserError: for an unknown format, or a folder that cannot be used.
        MissingExtraError: if a format needs a package that is not installed.
        ExportError: if a file cannot be written, does not load, or differs.
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
        # The card goes last, because it describes the other files.
        for file in sorted(staging.iterdir(), key=lambda path: (path.name == CARD_FILE, path.name)):
            put_in_place(file, to / file.name)
    return tuple(exported)


@contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """A hidden folder inside the target.

    It is inside because the target may be a mount point, and moves are atomic only within one file system.
    """
    is_new = not to.exists()
    try:
        to.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".autoprune-", dir=to))
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{to} is not a folder but a file: choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {to} ({error.strerror}): choose another folder") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it is not empty: it contains the export
                to.rmdir()


@contextmanager
def _disk_errors(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(
            f"cannot write {to} ({reason}): free some space or choose another folder"
        ) from error
