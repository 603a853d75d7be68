"""Trials marked for export, on the command line or in Optuna Dashboard."""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.trial import FrozenTrial

from autoprune.errors import StudyError
from autoprune.study.attributes import attributes_of, trials_of
from autoprune.study.notes import Notes, is_marked, marked, unmarked


def picked(study: optuna.Study) -> list[int]:
    """Numbers of the trials whose note has the mark, ascending; notes are the only record of marks."""
    notes = Notes(study)
    return [trial.number for trial in trials_of(study) if is_marked(notes.of(trial))]


def pick(study: optuna.Study, numbers: Iterable[int]) -> None:
    """Mark trials for export.

    Raises:
        StudyError: if there is no such trial, or it was not evaluated.
    """
    notes = Notes(study)
    for trial in [_evaluated(study, number) for number in numbers]:
        notes.replace(marked(notes.of(trial)), trial)


def unpick(study: optuna.Study, numbers: Iterable[int]) -> None:
    """Remove marks. Raises StudyError if there is no such trial."""
    notes = Notes(study)
    for trial in [_evaluated(study, number) for number in numbers]:
        notes.replace(unmarked(notes.of(trial)), trial)


def _evaluated(study: optuna.Study, number: int) -> FrozenTrial:
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(f"there is no trial {number}: give a number from 0 to {len(trials) - 1}")
    if not trials[number].values or attributes_of(trials[number]).plan is None:
        raise StudyError(f"trial {number} was not evaluated: choose one that `autoprune front` lists")
    return trials[number]
