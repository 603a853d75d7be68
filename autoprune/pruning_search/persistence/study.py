"""Opening, continuing and repairing the Optuna study that records a search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import optuna
from optuna.study import StudyDirection

from autoprune.config.granularity import UNITS
from autoprune.config.settings import Config
from autoprune.errors import StudyError
from autoprune.pruning_search.persistence.compatibility import fingerprints, places
from autoprune.pruning_search.persistence.trial_record import quality_attributes
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.samplers import make_sampler
from autoprune.pruning_search.proposals.spaces import space_name
from autoprune.pruning_search.proposals.spaces.coupled_groups import coupled_groups
from autoprune.storages import open_storage
from autoprune.study.artifacts import study_folder
from autoprune.study.attributes import RECORD
from autoprune.utils.redact import without_passwords

MAY_CHANGE = {
    "budget",
    "storage",
    "study",
    "threads",
    "latency_seconds",
    "sampler",
    "gaps",
    "device",
    "early_stopping",
    "workers",
    "engine",
    "address",
}
"""Settings that may differ when a study is continued; the rest decide what its results mean."""


def study_name(problem: Problem) -> str:
    """The configured name, or one made of model, data and model budget, so that equal commands meet again."""
    if problem.config.study:
        return problem.config.study
    data = problem.data.name.rpartition("/")[2]
    parts = [problem.subject.name.rpartition(":")[2], data, *map(str, problem.budget.limits)]
    if problem.config.granularity != UNITS:
        parts.insert(2, problem.config.granularity.replace("block:", "block").replace(":", "of"))
    text = "-".join(parts).replace("%", "pct")
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in text)


def check_continues(problem: Problem, storage: optuna.storages.BaseStorage) -> None:
    """Raise StudyError where a study of that name was made otherwise, before anything that takes long."""
    name = study_name(problem)
    try:
        study = storage.get_study_id_from_name(name)
    except KeyError:
        return
    recorded = storage.get_study_user_attrs(study).get(RECORD)
    if recorded is not None:
        _check_same(name, recorded, _record(problem))


def create_study(problem: Problem, storage: optuna.storages.BaseStorage | None = None) -> optuna.Study:
    """Create the study of this problem, or continue it when it exists.

    Raises:
        StudyError: when a study of that name was made with other settings, weights or package version.
    """
    storage = storage or open_storage(problem.config.storage, must_exist=False)
    name = study_name(problem)
    higher = problem.subject.qualities
    directions = [
        StudyDirection.MAXIMIZE if higher.get(name, False) else StudyDirection.MINIMIZE
        for name in problem.objectives
    ]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    record = _record(problem)
    recorded = study.user_attrs.get(RECORD)
    if recorded is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(problem.objectives))
        study.set_user_attr(RECORD, record)
    else:
        _check_same(name, recorded, record)
        _update_record(study, recorded, record)
    study.sampler = make_sampler(
        problem.config.sampler,
        groups=len(problem.structure.groups),
        seed=(problem.config.seed + len(study.get_trials(deepcopy=False))) % 2**32,
    )
    return study


def constrain(budget: BudgetModel, trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    """Set every constraint of the budget, in one order; a cost that was not measured counts as met."""
    for what in budget.limits:
        trial.set_constraint(what, excess.get(what, 0.0))


def _record(problem: Problem) -> dict[str, Any]:
    """What the study keeps about its problem; see the attribute names in the documentation."""
    baseline, costs = problem.subject.baseline, problem.budget_model
    seconds = costs.original_latency
    latency = {} if seconds is None else {"latency_ms": seconds * 1e3}
    return {
        "version": version("autoprune"),
        "config": {
            **problem.config.model_dump(mode="json"),
            "storage": without_passwords(problem.config.storage),
        },
        "places": places(problem.config, study_folder(problem.config.storage, study_name(problem)).path),
        **fingerprints(problem),
        "model": problem.subject.name,
        "weights": problem.subject.weights,
        "metric": problem.data.task.metric,
        "higher_is_better": problem.data.task.higher_is_better,
        "samples": baseline.score.samples,
        "ranking_samples": 0 if problem.splits.holdout is None else len(problem.splits.holdout),
        "baseline": {
            **quality_attributes(problem, baseline.score),
            **asdict(costs.original_costs),
            **latency,
        },
        "others": dict(baseline.others),
        **({} if baseline.sparsified is None else {"sparsified_quality": baseline.sparsified}),
        "groups": problem.structure.widths,
        "ties": coupled_groups(problem.structure.groups) if space_name(problem) == "criterion" else {},
        "latency_steps": {name: list(widths) for name, widths in costs.latency_steps.items()},
        "budget": [str(limit) for limit in problem.budget.limits],
        "limits": costs.limits,
        **timing_device(problem),
    }


def timing_device(problem: Problem) -> dict[str, Any]:
    """The device whose latencies the study shows, with its key; empty where none are measured."""
    if problem.meter is None:
        return {"device": {}, "device_key": ""}
    fingerprint = problem.meter.fingerprint
    return {"device": asdict(fingerprint), "device_key": fingerprint.key}


def _update_record(study: optuna.Study, recorded: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Record the settings that this run changes: workers that join it read them there."""
    config = {**recorded["config"], **{key: record["config"][key] for key in MAY_CHANGE}}
    keys = ("version", "versions", "places", "data", "base", "structure", "ranking")
    fresh = {key: record[key] for key in keys}
    if {**recorded, **fresh, "config": config} != recorded:
        study.set_user_attr(RECORD, {**recorded, **fresh, "config": config})


def _check_same(name: str, recorded: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    # A setting that came with a later version was at its default before.
    settings = {**Config().model_dump(mode="json"), **recorded["config"]}
    differences = [
        f"{key} was {settings[key]!r} and is {value!r}"
        for key, value in record["config"].items()
        if key not in MAY_CHANGE and settings[key] != value
    ]
    differences += [f"the {key} differ" for key in ("weights", "groups") if recorded.get(key) != record[key]]
    later = {"data": "data", "base": "weights after sparse training"}
    differences += [
        f"the {what} differ" for key, what in later.items() if recorded.get(key, record[key]) != record[key]
    ]
    if recorded.get("budget") != record["budget"]:
        differences.append(f"the budget was {recorded.get('budget')} and is {record['budget']}")
    if differences:
        raise StudyError(
            f"study {name!r} was made with other settings ({'; '.join(differences[:3])}): "
            "use the same ones, or another --study name"
        )
