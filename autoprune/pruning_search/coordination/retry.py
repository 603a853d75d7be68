"""Trials that did not finish: they are queued again, so that nothing of a dead worker is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from autoprune.pruning_search.coordination.heartbeat import LostTrialFinder
from autoprune.storages.optuna_private import storage_of, trial_id_of, writable_trial
from autoprune.study.attributes import ORIGIN, REASON, REFINED_FROM, RETRY_OF, SCALES, UNTRAINED, WIDTHS
from autoprune.study.open import open_study
from autoprune.study.states import DIED
from autoprune.utils.signals import finishing

_KEPT = (ORIGIN, WIDTHS, UNTRAINED, SCALES, REFINED_FROM)
"""What a trial that is queued again takes over."""


def requeue_lost(
    study: optuna.Study, watch: LostTrialFinder | None = None, *, mine: int | None = None, reason: str = DIED
) -> int:
    """Queue again what was running when its process died; returns how many there were.

    Of a running trial that nobody has put a name to yet, and of processes on other machines, only a `watch`
    that has been kept for a while can tell. A trial that was queued again before, and died again, is given
    up: it may be what kills the process. `mine` is the trial that this process runs now.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    requeued = 0
    for trial in (watch or LostTrialFinder()).lost(running, mine):
        if reason == DIED and _died_before(study, trial):
            fail(study, trial, reason)
        elif requeue(study, trial, reason):
            requeued += 1
    return requeued


def fail(study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
    """End a running trial as failed; false when another process was faster."""
    try:
        storage_of(study).set_trial_user_attr(trial_id_of(trial), REASON, reason)
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return False
    return True


def requeue(study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
    """End a running trial as failed and queue its parameters; false when another process was faster.

    Asked to stop in between, the process does both first.
    """
    with finishing():
        if not fail(study, trial, reason):
            return False
        # Those that it was queued with, too: it may have got no further than to some of them.
        parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if parameters:
            again: dict[str, Any] = {k: v for k, v in trial.user_attrs.items() if k in _KEPT}
            study.enqueue_trial(parameters, user_attrs={**again, RETRY_OF: trial.number})
        return True


def start_retry(study: optuna.Study) -> optuna.Trial | None:
    """A trial that was queued again, to be run before all others; None where there is none.

    It was chosen before they were, and a budget that ends soon must not lose it.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if RETRY_OF not in trial.user_attrs:
            continue
        with suppress(UpdateFinishedTrialError):
            if storage_of(study).set_trial_state_values(trial_id_of(trial), state=TrialState.RUNNING):
                return writable_trial(study, trial)
    return None


def open_saved_trial(storage: str, name: str, number: int) -> tuple[optuna.Study, optuna.Trial] | None:
    """A study in the storage that it was saved to, and one of its trials; None where that is over there."""
    study = open_study(storage, name)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number == number:
            return study, writable_trial(study, trial)
    return None


def _died_before(study: optuna.Study, trial: FrozenTrial) -> bool:
    first = trial.user_attrs.get(RETRY_OF)
    trials = study.get_trials(deepcopy=False)
    return first is not None and trials[first].user_attrs.get(REASON) == DIED
