"""Opening, continuing and repairing the Optuna study that records a search."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoprune.errors import StudyError
from autoprune.granularity import UNITS
from autoprune.review import open_storage
from autoprune.search.problem import Problem
from autoprune.search.record import quality_attributes
from autoprune.search.samplers import make_sampler

ATTRIBUTE = "autoprune"
MAY_CHANGE = {"budget", "storage", "study", "threads", "latency_seconds", "sampler", "device", "ladder"}
"""Settings that a continued study may be given anew; the rest decide what its results mean."""

SAMPLER = "sampler"
"""Origin of trials that no warm start gave."""
INTERRUPTED, DIED = "interrupted", "its process died"
UNFINISHED = (INTERRUPTED, DIED)
"""Reasons of failed trials that were queued again and do not count."""


def study_name(problem: Problem) -> str:
    """The configured name, or one made of model, data and model budget, so that equal commands meet again."""
    if problem.config.study:
        return problem.config.study
    data = problem.config.data.rpartition("/")[2]
    parts = [problem.name.rpartition(":")[2], data, *map(str, problem.budget.limits)]
    if problem.config.granularity != UNITS:
        parts.insert(2, problem.config.granularity.replace("block:", "block").replace(":", "of"))
    text = "-".join(parts).replace("%", "pct")
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in text)


def create_study(problem: Problem, storage: optuna.storages.BaseStorage | None = None) -> optuna.Study:
    """Create the study of this problem, or continue it when it exists.

    Raises:
        StudyError: when a study of that name was made with other settings, weights or package version.
    """
    storage = storage or open_storage(problem.config.storage, must_exist=False)
    name = study_name(problem)
    quality = StudyDirection.MAXIMIZE if problem.data.task.higher_is_better else StudyDirection.MINIMIZE
    directions = [quality] + [StudyDirection.MINIMIZE] * (len(problem.objectives) - 1)
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    record = _record(problem)
    known = study.user_attrs.get(ATTRIBUTE)
    if known is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(problem.objectives))
        study.set_user_attr(ATTRIBUTE, record)
    else:
        _check_same(name, known, record)
    study.sampler = make_sampler(
        problem.config.sampler,
        groups=len(problem.structure.groups),
        seed=(problem.config.seed + len(study.get_trials(deepcopy=False))) % 2**32,
    )
    return study


def revive(study: optuna.Study) -> int:
    """Queue again what was running when its process on this machine died; returns how many there were.

    A trial that was queued again before, and died again, is given up: it may be what kills the process.
    """
    lost = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if _is_dead(trial.user_attrs.get("process"))
    ]
    for trial in lost:
        optuna.Trial(study, trial._trial_id).set_user_attr("reason", DIED)
        study.tell(trial.number, state=TrialState.FAIL)
    again = [trial for trial in lost if not _died_before(study, trial)]
    for trial in again:
        requeue(study, trial)
    return len(again)


def _died_before(study: optuna.Study, trial: FrozenTrial) -> bool:
    first = trial.user_attrs.get("retry_of")
    trials = study.get_trials(deepcopy=False)
    return first is not None and trials[first].user_attrs.get("reason") == DIED


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put the parameters of a trial that did not finish back into the queue."""
    parameters = trial.params or trial.system_attrs.get("fixed_params")
    if parameters:
        again: dict[str, Any] = {k: v for k, v in trial.user_attrs.items() if k in ("origin", "widths")}
        study.enqueue_trial(parameters, user_attrs={**again, "retry_of": trial.number})


def constrain(problem: Problem, trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    """Set every constraint of the budget, in one order; a cost that was not measured counts as met."""
    for what in problem.limits:
        trial.set_constraint(what, excess.get(what, 0.0))


def this_process() -> dict[str, Any]:
    """Which process runs a trial, so that its death can be noticed."""
    return {"host": platform.node(), "pid": os.getpid()}


def _is_dead(process: Mapping[str, Any] | None) -> bool:
    if process is None:
        return True
    if process["host"] != platform.node():
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(process["pid"] == os.getpid())


def _record(problem: Problem) -> dict[str, Any]:
    """What the study keeps about its problem; see the attribute names in the documentation."""
    baseline = problem.baseline
    latency = {} if baseline.latency is None else {"latency_ms": baseline.latency * 1e3}
    return {
        "version": version("autoprune"),
        "config": problem.config.model_dump(mode="json"),
        "model": problem.name,
        "weights": problem.weights,
        "metric": problem.data.task.metric,
        "higher_is_better": problem.data.task.higher_is_better,
        "samples": baseline.score.samples,
        "ranking_samples": 0 if problem.parts.ranking is None else len(problem.parts.ranking),
        "baseline": {**quality_attributes(problem, baseline.score), **asdict(baseline.costs), **latency},
        "groups": problem.structure.widths,
        "stairs": {name: list(widths) for name, widths in problem.stairs.items()},
        "budget": [str(limit) for limit in problem.budget.limits],
        "limits": problem.limits,
        **timed_on(problem),
    }


def timed_on(problem: Problem) -> dict[str, Any]:
    """The device whose latencies the study shows, with its key; empty where none are measured."""
    if problem.meter is None:
        return {"device": {}, "device_key": ""}
    fingerprint = problem.meter.fingerprint
    return {"device": asdict(fingerprint), "device_key": fingerprint.key}


def _check_same(name: str, known: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    differences = [
        f"{key} was {known['config'].get(key)!r} and is {value!r}"
        for key, value in record["config"].items()
        if key not in MAY_CHANGE and known["config"].get(key) != value
    ]
    differences += [f"the {key} differ" for key in ("weights", "groups") if known.get(key) != record[key]]
    if known.get("budget") != record["budget"]:
        differences.append(f"the budget was {known.get('budget')} and is {record['budget']}")
    if differences:
        raise StudyError(
            f"study {name!r} was made with other settings ({'; '.join(differences[:3])}): "
            "use the same ones, or another --study name"
        )
