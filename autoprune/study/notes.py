"""Notes in Optuna Dashboard: a generated part, and below it the user's own."""

from __future__ import annotations

import re

import optuna
from optuna.trial import FrozenTrial

from autoprune.storages.optuna_private import note_in, storage_of, study_id_of, trial_id_of, writable_trial

MARK = "#export"
"""In a trial's note, it marks the trial for export."""
FENCE = "*The note below this line is yours; the part above is regenerated.*"
_MARKED = re.compile(
    rf"(?P<code>(?P<fence>`+).*?(?<!`)(?P=fence)(?!`))|(?<![\w`#]){MARK}\b(?!`)", re.IGNORECASE
)
"""The mark, or code, in which it does not count: commands contain study names, which may be anything."""


class Notes:
    """The notes of a study and its trials, as of construction."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        # Read once: these attributes include the figures of a study, which may have thousands of trials.
        self._attributes = storage_of(study).get_study_system_attrs(study_id_of(study))

    def of(self, trial: FrozenTrial | None = None) -> str:
        """The note of a trial, or of the study; empty where there is none."""
        return note_in(self._attributes, None if trial is None else trial_id_of(trial))

    def write(self, text: str, trial: FrozenTrial | None = None) -> None:
        """Replace the generated part of a note; the user's part and a mark for export are kept."""
        self.replace(merged(text, self.of(trial)), trial)

    def replace(self, note: str, trial: FrozenTrial | None = None) -> None:
        """Replace a whole note."""
        # Imported here: it brings scikit-learn, for which no other command should wait.
        from optuna_dashboard import save_note

        if note != self.of(trial):
            save_note(self._study if trial is None else writable_trial(self._study, trial), note)


def is_marked(note: str) -> bool:
    """Whether the note marks its trial for export; a mark in backticks does not count."""
    return any(found["code"] is None for found in _MARKED.finditer(note))


def merged(text: str, present: str) -> str:
    """A note with a new generated part above the user's part."""
    upper, fence, own = present.partition(FENCE)
    if not fence:
        upper, own = "", present
    if is_marked(upper) and not is_marked(own):
        own = f"{MARK}\n\n{own.lstrip()}"
    return f"{text.rstrip()}\n\n---\n{FENCE}\n\n{own.strip()}\n"


def marked(note: str) -> str:
    """The note with a mark in the user's part."""
    return note if is_marked(note) else f"{note.rstrip()}\n\n{MARK}\n".lstrip()


def unmarked(note: str) -> str:
    """The note without marks."""
    return _MARKED.sub(lambda found: found["code"] or "", note).rstrip() + "\n"
