"""Why a trial ended before its time: it is queued again, and counts as nothing."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from autoprune.study.attributes import attributes_of

INTERRUPTED, DIED, NO_ROOM = "interrupted", "its process died", "the budget was spent before it began"
TOO_LARGE = "out of memory, to be run again in smaller pieces"
REASONS = (INTERRUPTED, DIED, NO_ROOM, TOO_LARGE)


def is_unfinished(trial: FrozenTrial) -> bool:
    """Whether it failed for one of these reasons, which say nothing of its candidate."""
    return trial.state is TrialState.FAIL and attributes_of(trial).reason in REASONS
