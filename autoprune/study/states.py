"""States of trials, Optuna's and our own, and what a summary calls them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from optuna.trial import FrozenTrial, TrialState

from autoprune.study.attributes import attributes_of, is_readable

DUPLICATE_OF = "duplicate_of"
"""Trial attribute: number of the first trial with the same plan, whose results this one has."""
SCORED = ("COMPLETE", "PREVIEW")
"""States of trials whose quality was measured; of those with one plan, the first."""
NO_CANDIDATE = ("PRUNED", "STOPPED", "FAIL", "UNFINISHED")
"""States of trials that ended and gave none."""
COUNTED = ("COMPLETE", "PRUNED", "FAIL")
"""States of trials that count towards the budget; of all others only how many there are besides is said."""
_WORDS = {
    "COMPLETE": "evaluated",
    "PREVIEW": "without training",
    "STOPPED": "stopped early",
    "REPEAT": "known plans again",
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
    """``["18 over budget", "2 failed"]``: those of the states that some of the counted trials are in."""
    counted = [state for state in _WORDS if state in states and trials.get(state)]
    return [f"{trials[state]} {_WORDS[state]}" for state in counted]


INTERRUPTED, DIED, NO_ROOM = "interrupted", "its process died", "the budget was spent before it began"
TOO_LARGE = "out of memory, to be run again in smaller pieces"
REASONS = (INTERRUPTED, DIED, NO_ROOM, TOO_LARGE)


def is_unfinished(trial: FrozenTrial) -> bool:
    """Whether it failed for one of these reasons, which say nothing of its candidate."""
    return trial.state is TrialState.FAIL and attributes_of(trial).reason in REASONS
