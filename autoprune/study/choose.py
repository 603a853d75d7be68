"""Selecting trials of a study."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial

from autoprune.errors import StudyError
from autoprune.study.front import best, front_trials
from autoprune.study.picks import picked

PICKED, FRONT = "picked", "front"
SEVERAL = (PICKED, FRONT)
"""Words that select several trials."""


def chosen_trial(study: optuna.Study, which: int | str) -> FrozenTrial:
    """The trial with a number, or the ``"best"``; it must not be modified.

    Raises:
        StudyError: if there is no such trial.
    """
    if which == "best":
        return best(study)
    trials = study.get_trials(deepcopy=False)
    if not isinstance(which, int) or not 0 <= which < len(trials):
        raise StudyError(f"there is no trial {which!r}: give 'best' or a number from 0 to {len(trials) - 1}")
    return trials[which]


def chosen_trials(study: optuna.Study, which: int | str) -> list[FrozenTrial]:
    """Like :func:`chosen_trial`, or all ``"picked"`` trials (marked for export), or all on the ``"front"``.

    Raises:
        StudyError: if there is none.
    """
    if which == PICKED:
        trials = study.get_trials(deepcopy=False)
        found = [trials[number] for number in picked(study)]
        missing = "no trial is picked: run autoprune pick N, or write #export in a note in the dashboard"
    elif which == FRONT:
        found = sorted(front_trials(study), key=lambda trial: trial.number)
        missing = "the front is empty: search with more trials, or with a larger budget"
    else:
        return [chosen_trial(study, which)]
    if not found:
        raise StudyError(missing)
    return found
