"""Who may evaluate a plan: with many workers no plan is evaluated twice, and no trial begins without room.

A storage has no lock that all workers could hold, but each of them reads what was written before. Every
worker first *announces* the plan of its trial, then reads what the others have announced, and only then
*begins*. Of two that have announced and not begun, the one with the higher number steps back, and the one
with the lower number waits until it has: it may have read too early to see the other. So of any two that
compete at least one sees the other before it begins, and never do two begin, nor do two wait for each other
(Lamport's bakery, "A New Solution of Dijkstra's Concurrent Programming Problem", 1974, with trials that give
up their turn). Announcements of the dead go away with their trials.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoprune.pruning_search.coordination.budget_usage import counts
from autoprune.pruning_search.coordination.snapshot import Snapshot
from autoprune.structure.plans import AnyPlan
from autoprune.study.attributes import CLAIM

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks at those that have to step back."""


class Turn(Enum):
    """What a trial that has announced its plan may do."""

    BEGIN = auto()
    WAIT = auto()
    DUPLICATE = auto()
    NO_ROOM = auto()


@dataclass(frozen=True)
class Decision:
    """What a trial may do, and the trial of the same plan that is ahead of it, if there is one."""

    turn: Turn
    ahead: int | None = None


def plan_key(widths: Mapping[str, int], plan: AnyPlan | None, *, trained: bool = True) -> str:
    """What two trials have in common that give the same model: the plan, or widths where those say it all."""
    if plan is not None:
        key = plan.hash
    else:
        key = hashlib.sha256(json.dumps(dict(widths), sort_keys=True).encode()).hexdigest()[:24]
    return key if trained else f"{key} untrained"


def decide(number: int, plan: str, trials: Sequence[FrozenTrial], total: int | None) -> Decision:
    """What trial `number` may do that has announced `plan`, by what it reads of all trials.

    ``total`` is how many may count; None for any number.
    """
    others = [
        (trial.number, trial.user_attrs[CLAIM]["plan"], trial.user_attrs[CLAIM]["begun"])
        for trial in trials
        if trial.state is TrialState.RUNNING and CLAIM in trial.user_attrs and trial.number != number
    ]
    for other, its_plan, begun in others:
        if its_plan == plan and (begun or other < number):
            return Decision(Turn.DUPLICATE, other)
    room = None if total is None else total - sum(map(counts, trials))
    ahead = sum(begun or other < number for other, _, begun in others)
    if room is not None and ahead >= room:
        return Decision(Turn.NO_ROOM)
    behind = [its_plan for other, its_plan, begun in others if not begun and other > number]
    if plan in behind or (room is not None and ahead + len(behind) >= room):
        return Decision(Turn.WAIT)
    return Decision(Turn.BEGIN)


def claim(
    study: optuna.Study,
    trial: optuna.Trial,
    plan: str,
    total: int | None,
    requeue: Callable[[], object],
) -> tuple[Decision, Snapshot]:
    """Announce a plan and find out what its trial may do: begin, or step back.

    `requeue` is called while the trial waits: those that it waits for may be dead. Returns with the decision
    the study by which it was made: trials of the plan that are over are over in it, for one that was running
    would have been in the way.
    """
    trial.set_user_attr(CLAIM, {"plan": plan, "begun": False})
    pause = FIRST_PAUSE
    while True:
        now = Snapshot(study)
        decision = decide(trial.number, plan, now.get_trials(deepcopy=False), total)
        if decision.turn is Turn.BEGIN:
            trial.set_user_attr(CLAIM, {"plan": plan, "begun": True})
        if decision.turn is not Turn.WAIT:
            return decision, now
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE)
        requeue()
