"""What the states that a summary counts are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping

NO_CANDIDATE = ("PRUNED", "STOPPED", "FAIL", "UNFINISHED")
"""States of trials that ended and gave none."""
_WORDS = {
    "COMPLETE": "evaluated",
    "PREVIEW": "without training",
    "STOPPED": "given up early",
    "REPEAT": "known plans again",
    "PRUNED": "over budget",
    "FAIL": "failed",
    "UNFINISHED": "not finished",
    "RUNNING": "running",
}


def state_texts(trials: Mapping[str, int], states: Collection[str] = tuple(_WORDS)) -> list[str]:
    """``["18 over budget", "2 failed"]``: those of the states that some of the counted trials are in."""
    counted = [state for state in _WORDS if state in states and trials.get(state)]
    return [f"{trials[state]} {_WORDS[state]}" for state in counted]
