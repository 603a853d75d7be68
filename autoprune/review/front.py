"""What a study found: its Pareto front as a DataFrame, its best trial, and its summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import optuna
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoprune.errors import StudyError
from autoprune.granularity import UNITS

_COSTS = ("flops", "flops_ratio", "parameters", "size")
_MASKED = ("nonzero", "nonzero_ratio", "effective_multiply_adds")
_LATENCY = ("latency_ms", "latency_ratio", "latency_low", "latency_high")


@dataclass(frozen=True)
class Baseline:
    """The uncut model.

    Attributes:
        trial: number of the trial that evaluated it, None when there is none.
        quality: the study's metric on validation data.
        quality_error: its standard error, None when it is not known.
        test_quality: the metric on test data, None until a search has ended.
        flops: FLOPs of one sample, one multiply-add counted as one.
        parameters: number of parameters.
        size: bytes.
        latency_ms: milliseconds, None when latency was not measured.
        nonzero: non-zero parameters, None unless the study masks weights.
    """

    trial: int | None
    quality: float
    quality_error: float | None
    test_quality: float | None
    flops: int
    parameters: int
    size: int
    latency_ms: float | None
    nonzero: int | None = None


@dataclass(frozen=True)
class Summary:
    """What there is to say about a study in a few lines.

    Attributes:
        name: the study's name.
        model: readable name of the model.
        metric: name of the quality metric.
        higher_is_better: direction of the metric.
        samples: number of validation samples.
        baseline: the uncut model.
        limits: budget name to what must hold: FLOPs, parameters, bytes or seconds.
        trials: number of trials by Optuna's state name, REPEAT for known plans suggested again.
        best: number of the best trial, None when no trial is within the budget.
        front: number of plans on the Pareto front.
        granularity: what is masked, empty when units are removed.
    """

    name: str
    model: str
    metric: str
    higher_is_better: bool
    samples: int
    baseline: Baseline
    limits: Mapping[str, float]
    trials: Mapping[str, int]
    best: int | None
    front: int
    granularity: str = ""


def front(study: optuna.Study) -> pd.DataFrame:
    """The Pareto front: one row a plan that is within the budget, FLOPs (of masks: non-zeros) descending.

    Columns: ``trial``, the metric, ``<metric>_error`` (standard error), ``test_<metric>``, ``flops``,
    ``flops_ratio``, ``parameters``, ``size`` (bytes; of masks, if compressed), ``nonzero``,
    ``nonzero_ratio``, ``effective_multiply_adds``, ``latency_ms``, ``latency_ratio``, ``latency_low`` and
    ``latency_high`` (95 % interval of the ratio), ``origin``. Ratios are to the uncut model. The columns of
    the test, of masks and of latency are there only when something in them is known; latencies of another
    device than the study's present one are not.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    record = _attributes(study)
    metric = str(record["metric"])
    test = study.user_attrs.get("test", {})
    trials = sorted(front_trials(study), key=lambda trial: (-trial.values[1], trial.number))
    columns = ["trial", metric, f"{metric}_error", f"test_{metric}", *_COSTS, *_MASKED, *_LATENCY, "origin"]
    frame = pd.DataFrame([_row(trial, metric, test, record) for trial in trials], columns=columns)
    optional = (f"test_{metric}", *_MASKED, *_LATENCY)
    return frame.drop(columns=[name for name in optional if frame[name].isna().all()])


def best(study: optuna.Study) -> FrozenTrial:
    """The complete trial within the budget with the best quality; among equals the cheapest, then the first.

    Raises:
        StudyError: the study was not made by autoprune, or no trial is within the budget.
    """
    _attributes(study)
    trial = _best(study)
    if trial is None:
        raise StudyError(
            f"study {study.study_name!r} has no finished trial within the budget: "
            "search with more trials, or with a larger budget under another study name"
        )
    return trial


def summary(study: optuna.Study) -> Summary:
    """Model, uncut costs, limits and trial counts of a study.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    attributes = _attributes(study)
    trials = study.get_trials(deepcopy=False)
    found = _best(study)
    return Summary(
        name=study.study_name,
        model=attributes["model"],
        metric=attributes["metric"],
        higher_is_better=attributes["higher_is_better"],
        samples=attributes["samples"],
        baseline=_baseline(attributes["baseline"], study.user_attrs.get("test", {}), trials),
        limits=dict(attributes["limits"]),
        trials=Counter("REPEAT" if "duplicate_of" in t.user_attrs else t.state.name for t in trials),
        best=None if found is None else found.number,
        front=len(front_trials(study)),
        granularity=_masked_granularity(attributes),
    )


def measured_on(trial: FrozenTrial) -> str:
    """Key of the device that the trial's latency was measured on; empty where it has none."""
    return str(trial.user_attrs.get("timing", {}).get("device", ""))


def front_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Pareto-optimal trials within the budget, by number; of those with one plan, the first.

    Where the budget limits latency, only trials that were timed on the study's present device count:
    milliseconds of two devices do not compare.

    The same trials as ``study.best_trials``, which copies every trial deeply: seconds in a long study.
    The trials must not be changed.
    """
    feasible = _feasible(study)
    if not feasible:
        return []
    values = np.array([trial.values for trial in feasible], dtype=float)
    maximise = [direction is StudyDirection.MAXIMIZE for direction in study.directions]
    on_front = moocore.is_nondominated(values, maximise=maximise, keep_weakly=True)
    plans: dict[object, FrozenTrial] = {}
    for trial, is_on_front in zip(feasible, on_front, strict=True):
        if is_on_front:
            plans.setdefault(trial.user_attrs.get("plan", trial.number), trial)
    return list(plans.values())


def _attributes(study: optuna.Study) -> Mapping[str, Any]:
    attributes = study.user_attrs.get("autoprune")
    if not isinstance(attributes, Mapping):
        raise StudyError(
            f"study {study.study_name!r} was not made by autoprune: name another one of its storage, "
            "or run autoprune search first"
        )
    return attributes


def _masked_granularity(attributes: Mapping[str, Any]) -> str:
    granularity = str(attributes.get("config", {}).get("granularity", UNITS))
    return "" if granularity == UNITS else granularity


def _feasible(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that meet every constraint, by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    record = study.user_attrs.get("autoprune", {})
    if "latency" in record.get("limits", {}):
        trials = [trial for trial in trials if _timed_here(trial, record)]
    return [trial for trial in trials if all(excess <= 0 for excess in trial.constraints.values())]


def _best(study: optuna.Study) -> FrozenTrial | None:
    signs = [-1 if direction is StudyDirection.MAXIMIZE else 1 for direction in study.directions]

    def losses(trial: FrozenTrial) -> tuple[float, ...]:
        return *(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial.number

    return min(_feasible(study), key=losses, default=None)


def _timed_here(trial: FrozenTrial, record: Mapping[str, Any]) -> bool:
    """Whether the trial's latency, if it has one, is of the study's present device."""
    return measured_on(trial) in ("", record.get("device_key"))


def _row(
    trial: FrozenTrial, metric: str, test: Mapping[str, float], record: Mapping[str, Any]
) -> dict[str, object]:
    attributes = dict(trial.user_attrs)
    if not _timed_here(trial, record):
        attributes |= dict.fromkeys(_LATENCY)
    return {
        "trial": trial.number,
        metric: trial.values[0],
        f"{metric}_error": attributes.get("quality_error"),
        f"test_{metric}": test.get(str(trial.number)),
        **{name: attributes.get(name) for name in (*_COSTS, *_MASKED, *_LATENCY, "origin")},
    }


def _baseline(costs: Mapping[str, Any], test: Mapping[str, float], trials: Iterable[FrozenTrial]) -> Baseline:
    uncut = next(
        (trial for trial in trials if trial.user_attrs.get("origin") == "uncut" and trial.values), None
    )
    return Baseline(
        trial=None if uncut is None else uncut.number,
        quality=costs["quality"],
        quality_error=None if uncut is None else uncut.user_attrs.get("quality_error"),
        test_quality=test.get("baseline"),
        flops=int(costs["flops"]),
        parameters=int(costs["parameters"]),
        size=int(costs["size"]),
        latency_ms=costs.get("latency_ms"),
        nonzero=costs.get("nonzero"),
    )
