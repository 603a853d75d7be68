"""Notes in Optuna Dashboard: a part that is written here, and below it one that belongs to the reader."""

from __future__ import annotations

import re

import optuna
from optuna.trial import FrozenTrial

from autoprune.storages.optuna_private import note_in, storage_of, study_id_of, trial_id_of, writable_trial

MARK = "#export"
"""Written in a trial's note, it marks the trial for export."""
FENCE = "*Below this line the note is yours; what is above is written anew.*"
_MARKED = re.compile(
    rf"(?P<code>(?P<fence>`+).*?(?<!`)(?P=fence)(?!`))|(?<![\w`#]){MARK}\b(?!`)", re.IGNORECASE
)
"""The mark, or code, in which it is none: commands name studies, whose names may be anything."""


class Notes:
    """The notes of a study and its trials, as they were when this was made."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        # One read: the pictures of a study are among these attributes, and its trials may be thousands.
        self._attributes = storage_of(study).get_study_system_attrs(study_id_of(study))

    def of(self, trial: FrozenTrial | None = None) -> str:
        """The note of a trial, or of the study; empty where there is none."""
        return note_in(self._attributes, None if trial is None else trial_id_of(trial))

    def write(self, text: str, trial: FrozenTrial | None = None) -> None:
        """Replace the upper part of a note; the reader's part and a mark for export stay."""
        self.replace(merged(text, self.of(trial)), trial)

    def replace(self, note: str, trial: FrozenTrial | None = None) -> None:
        """Replace a whole note."""
        # Imported here: it brings scikit-learn, for which no other command should wait.
        from optuna_dashboard import save_note

        if note != self.of(trial):
            save_note(self._study if trial is None else writable_trial(self._study, trial), note)


def is_marked(note: str) -> bool:
    """Whether the note marks its trial for export; in backticks, the word only speaks of marking."""
    return any(found["code"] is None for found in _MARKED.finditer(note))


def merged(text: str, present: str) -> str:
    """A new upper part over the reader's part of a note."""
    upper, fence, own = present.partition(FENCE)
    if not fence:
        upper, own = "", present
    if is_marked(upper) and not is_marked(own):
        own = f"{MARK}\n\n{own.lstrip()}"
    return f"{text.rstrip()}\n\n---\n{FENCE}\n\n{own.strip()}\n"


def marked(note: str) -> str:
    """The note with a mark in the reader's part."""
    return note if is_marked(note) else f"{note.rstrip()}\n\n{MARK}\n".lstrip()


def unmarked(note: str) -> str:
    """The note without marks."""
    return _MARKED.sub(lambda found: found["code"] or "", note).rstrip() + "\n"
