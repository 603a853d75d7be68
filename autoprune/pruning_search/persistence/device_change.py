"""A study that is continued, perhaps where latencies are others: on another device, or with other threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.errors import AutopruneError
from autoprune.pruning_search.coordination.heartbeat import this_process
from autoprune.pruning_search.evaluation.evaluate import OverBudget
from autoprune.pruning_search.persistence.duplicates import record_duplicate
from autoprune.pruning_search.persistence.study import constrain, timing_device
from autoprune.pruning_search.problem.problem import Problem
from autoprune.storages.optuna_private import writable_trial
from autoprune.study.attributes import ORIGIN, PROCESS, REASON, RECORD, WIDTHS
from autoprune.study.front import front_trials
from autoprune.study.listener import Listener

TIMED_AGAIN = "timed again"
"""Origin of trials that time a known plan on the device at hand."""


def continue_on_device(problem: Problem, study: optuna.Study, listener: Listener) -> Problem:
    """The problem as the study has it, the device at hand being the one whose latencies count from now on.

    If that was another one, the listener is notified; the original model's latency and limits relative to
    it become this device's. If the budget limits latency, the plans on the front so far are timed again at
    once; their quality is known. All others keep what they have and leave the front.
    """
    record, here = study.user_attrs[RECORD], timing_device(problem)
    if problem.meter is None or record["device_key"] == here["device_key"]:
        return match_record(problem, study)
    before = front_trials(study)
    latency = problem.budget_model.original_latency
    baseline = record["baseline"] | ({} if latency is None else {"latency_ms": latency * 1e3})
    study.set_user_attr(
        RECORD, {**record, **here, "baseline": baseline, "limits": problem.budget_model.limits}
    )
    problem = match_record(problem, study)
    if before:
        differences = _differences(record["device"], here["device"])
        listener.note(
            f"the latencies so far were measured elsewhere ({differences}): they are measured again"
        )
    if "latency" in problem.budget_model.limits and before:
        listener.phase("latency", "of the front so far, on this device")
        for done, trial in enumerate(before):
            listener.progress(done / len(before), f"latency of trial {trial.number}")
            _time_again(problem, study, trial)
    return problem


def match_record(problem: Problem, study: optuna.Study) -> Problem:
    """The problem with the study's own widths to choose from and latency of the original model.

    They are the same for all workers and all runs, whatever was measured since the study was made.
    """
    record = study.user_attrs[RECORD]
    budget_model = replace(problem.budget_model, latency_steps=record["latency_steps"])
    milliseconds = record["baseline"].get("latency_ms")
    if milliseconds is not None and budget_model.original_latency is not None:
        budget_model = replace(budget_model, original_latency=milliseconds * 1e-3)
    return replace(problem, budget_model=budget_model)


def device_differences(problem: Problem, study: optuna.Study) -> str:
    """How the device at hand differs from that of the study's latencies; empty where it does not."""
    record, here = study.user_attrs[RECORD], timing_device(problem)
    if problem.meter is None or record["device_key"] == here["device_key"]:
        return ""
    return _differences(record["device"], here["device"])


def _time_again(problem: Problem, study: optuna.Study, before: FrozenTrial) -> None:
    """A trial of its own for the latency of a known plan, ahead of all that wait."""
    mark = {ORIGIN: TIMED_AGAIN, PROCESS: this_process(), WIDTHS: before.user_attrs[WIDTHS]}
    running = TrialState.RUNNING
    study.add_trial(
        create_trial(state=running, params=before.params, distributions=before.distributions, user_attrs=mark)
    )
    own = [t for t in study.get_trials(deepcopy=False, states=(running,)) if t.user_attrs == mark]
    trial = writable_trial(study, own[-1])
    try:
        record_duplicate(problem, study, trial, before)
    except OverBudget as over:
        trial.set_user_attr(REASON, str(over))
        constrain(problem.budget_model, trial, over.excess)
        study.tell(trial, state=TrialState.PRUNED)
    except AutopruneError as error:
        trial.set_user_attr(REASON, f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first few fields of two fingerprints that differ."""
    fields = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {before.get(name)}, here {now[name]}" for name in fields[:3])
