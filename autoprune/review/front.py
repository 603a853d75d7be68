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

_COSTS = ("flops", "flops_ratio", "parameters", "size")
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
    """

    trial: int | None
    quality: float
    quality_error: float | None
    test_quality: float | None
    flops: int
    parameters: int
    size: int
    latency_ms: float | None


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
        trials: number of trials by Optuna's state name, only states that occur.
        best: number of the best trial, None when no trial is within the budget.
        front: number of plans on the Pareto front.
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


def front(study: optuna.Study) -> pd.DataFrame:
    """The Pareto front: one row a plan that is within the budget, FLOPs descending.

    Columns: ``trial``, the metric, ``<metric>_error`` (standard error), ``test_<metric>``, ``flops``,
    ``flops_ratio``, ``parameters``, ``size`` (bytes), ``latency_ms``, ``latency_ratio``, ``latency_low`` and
    ``latency_high`` (95 % interval of the ratio), ``origin``. Ratios are to the uncut model. The test and
    latency columns are there only when something in them is known.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    metric = str(_attributes(study)["metric"])
    test = study.user_attrs.get("test", {})
    trials = sorted(front_trials(study), key=lambda trial: (-trial.values[1], trial.number))
    columns = ["trial", metric, f"{metric}_error", f"test_{metric}", *_COSTS, *_LATENCY, "origin"]
    frame = pd.DataFrame([_row(trial, metric, test) for trial in trials], columns=columns)
    optional = (f"test_{metric}", *_LATENCY)
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
        trials=Counter(trial.state.name for trial in trials),
        best=None if found is None else found.number,
        front=len(front_trials(study)),
    )


def front_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Pareto-optimal trials within the budget, by number; of those with one plan, the first.

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


def _feasible(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that meet every constraint, by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if all(excess <= 0 for excess in trial.constraints.values())]


def _best(study: optuna.Study) -> FrozenTrial | None:
    signs = [-1 if direction is StudyDirection.MAXIMIZE else 1 for direction in study.directions]

    def losses(trial: FrozenTrial) -> tuple[float, ...]:
        return *(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial.number

    return min(_feasible(study), key=losses, default=None)


def _row(trial: FrozenTrial, metric: str, test: Mapping[str, float]) -> dict[str, object]:
    attributes = trial.user_attrs
    return {
        "trial": trial.number,
        metric: trial.values[0],
        f"{metric}_error": attributes.get("quality_error"),
        f"test_{metric}": test.get(str(trial.number)),
        **{name: attributes.get(name) for name in (*_COSTS, *_LATENCY, "origin")},
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
    )
