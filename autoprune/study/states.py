"""States of trials, Optuna's and our own, and their names in summaries."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from optuna.trial import FrozenTrial, TrialState

from autoprune.study.attributes import attributes_of, is_readable

SCORED = ("COMPLETE", "PREVIEW")
"""States of trials whose quality was measured; repeated plans are excluded."""
NO_CANDIDATE = ("PRUNED", "STOPPED", "FAIL", "UNFINISHED")
"""States of trials that ended without a candidate."""
COUNTED = ("COMPLETE", "PRUNED", "FAIL")
"""States of trials that count towards the budget; summaries list the rest separately."""
_WORDS = {
    "COMPLETE": "evaluated",
    "PREVIEW": "without training",
    "STOPPED": "stopped early",
    "REPEAT": "repeated plans",
    "PRUNED": "over budget",
    "FAIL": "failed",
    "UNFINISHED": "not finished",
    "RUNNING": "running",
    "UNREADABLE": "not readable",
}


def state_of(trial: FrozenTrial) -> str:
    """Optuna's name of a trial's state, or one of the words of :attr:`autoprune.review.Summary.trials`."""
    if not is_readable(trial):
        return "UNREADABLE"
    known = attributes_of(trial)
    if known.duplicate_of is not None:
        return "REPEAT"
    if is_unfinished(trial):
        return "UNFINISHED"
    if known.untrained is not None and trial.state is TrialState.COMPLETE:
        return "PREVIEW"
    return "STOPPED" if known.stopped_at is not None else trial.state.name


def state_texts(trials: Mapping[str, int], states: Collection[str] = tuple(_WORDS)) -> list[str]:
    """``["18 over budget", "2 failed"]``: the states with at least one trial."""
    counted = [state for state in _WORDS if state in states and trials.get(state)]
    return [f"{trials[state]} {_WORDS[state]}" for state in counted]


INTERRUPTED, DIED, NO_ROOM = "interrupted", "its process died", "the budget was spent before it started"
TOO_LARGE = "out of memory, to be rerun with smaller micro-batches"
REASONS = (INTERRUPTED, DIED, NO_ROOM, TOO_LARGE)


def is_unfinished(trial: FrozenTrial) -> bool:
    """Whether it failed for one of these reasons, which are independent of its candidate."""
    return trial.state is TrialState.FAIL and attributes_of(trial).reason in REASONS
