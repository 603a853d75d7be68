"""The results of a study: its Pareto front as a DataFrame, its best trial, and its summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import moocore
import numpy as np
import optuna
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoprune.config.granularity import UNITS
from autoprune.errors import StudyError
from autoprune.study.attributes import RECORD, attributes_of, qualities_on_test, trials_of
from autoprune.study.estimates import ORIGINAL, Estimate, guided, in_use, ranked
from autoprune.study.record import check_trial, study_record
from autoprune.study.states import state_of

_COSTS = ("flops", "flops_ratio", "parameters", "size")
_MASKED = ("nonzero", "nonzero_ratio", "effective_multiply_adds")
_LATENCY = ("latency_ms", "latency_ratio", "latency_low", "latency_high")


@dataclass(frozen=True)
class Baseline:
    """The original model.

    Attributes:
        trial: number of the trial that evaluated it, None if there is none.
        quality: the study's metric on validation data.
        quality_error: its standard error, None if unknown.
        test_quality: the metric on test data, None until a search has ended.
        flops: FLOPs of one sample, one multiply-add counted as one.
        parameters: number of parameters.
        size: bytes.
        latency_ms: milliseconds, None if latency was not measured.
        nonzero: non-zero parameters, None unless the study masks weights.
        others: additional quality objectives, by name.
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
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """A summary of a study.

    Attributes:
        name: the study's name.
        model: readable name of the model.
        metric: name of the quality metric.
        higher_is_better: direction of the metric.
        samples: number of validation samples.
        baseline: the original model.
        limits: budget name -> limit in FLOPs, parameters, bytes or seconds.
        trials: number of trials by Optuna's state name, REPEAT for repeated plans, PREVIEW for plans scored
            without training, STOPPED for candidates that were stopped early, UNFINISHED for trials that were
            interrupted and requeued.
        best: number of the best trial, None if no trial is within the budget.
        front: number of plans on the Pareto front.
        granularity: what is masked, empty when units are removed.
        sparsified: the method of sparse training before the search; empty without it.
        sparsified_quality: the quality after it, before pruning.
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
    sparsified: str = ""
    sparsified_quality: float | None = None


def front(study: optuna.Study) -> pd.DataFrame:
    """The Pareto front: one row per plan within the budget, by descending FLOPs (with masks: non-zeros).

    Columns: ``trial``, the metric, ``<metric>_error`` (standard error), ``<metric>_low`` and
    ``<metric>_high`` (95 % interval), ``guiding_<metric>``, ``test_<metric>``, other objectives, ``flops``,
    ``flops_ratio``, ``parameters``, ``size`` (bytes; compressed with masks), ``nonzero``,
    ``nonzero_ratio``, ``effective_multiply_adds``, ``latency_ms``, ``latency_ratio``, ``latency_low`` and
    ``latency_high`` (95 % interval of the ratio), ``origin``. Ratios are to the original. If a holdout split
    ranked the finalists, the metric is corrected by it, and ``guiding_<metric>`` is that on the selection
    split. The columns of intervals, the test, masks and latency are present only if they have values;
    latencies of devices other than the study's current one are left out.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    record = study_record(study)
    metric = str(record["metric"])
    test = qualities_on_test(study)
    judged, ranking = _judged(study)
    trials = sorted(_shown(study, judged, ranking), key=lambda trial: (-trial.values[1], trial.number))
    others = tuple(record.get("others", ()))
    rows = [_row(trial, metric, test, record, others) | _quality(trial, metric, ranking) for trial in trials]
    known = (f"{metric}_low", f"{metric}_high", f"guiding_{metric}", f"test_{metric}")
    columns = ["trial", metric, f"{metric}_error", *known, *others, *_COSTS, *_MASKED, *_LATENCY, "origin"]
    frame = pd.DataFrame(rows, columns=columns)
    optional = (*known, *_MASKED, *_LATENCY)
    return frame.drop(columns=[name for name in optional if frame[name].isna().all()])


def best(study: optuna.Study) -> FrozenTrial:
    """The complete trial within the budget with the best quality; ties go to the cheapest, then the first.

    Raises:
        StudyError: the study was not made by autoprune, or no trial is within the budget.
    """
    study_record(study)
    trial = _best(study)
    if trial is None:
        raise StudyError(
            f"study {study.study_name!r} has no finished trial within the budget: "
            + (
                _why_none(study)
                or "search with more trials, or with a larger budget under another study name"
            )
        )
    return trial


def why_none(study: optuna.Study) -> str:
    """Why no trial is within the budget.

    The original has no quality; or how far the nearest trial is over the budget; or how the last one failed.
    """
    return _why_none(study) or "none ran"


def undefined_original(study: optuna.Study) -> str:
    """What to do if the original's quality is not a number; empty if it is one."""
    record = study_record(study)
    if not math.isnan(record["baseline"]["quality"]):
        return ""
    return (
        f"the {record['metric']} of the original is not a number on the study's validation samples, so no "
        "candidate can be compared with it: search under another study name with another metric or samples"
    )


def _why_none(study: optuna.Study) -> str:
    undefined = undefined_original(study)
    if undefined:
        return undefined
    ended = [trial for trial in trials_of(study) if attributes_of(trial).reason is not None]
    if not ended:
        return ""
    over = [trial for trial in ended if max(trial.constraints.values(), default=0) > 0]
    if over:
        nearest = min(over, key=lambda trial: max(trial.constraints.values()))
        return f"the nearest one: {attributes_of(nearest).reason}; raise the budget, or give it more trials"
    return f"the last one: {attributes_of(ended[-1]).reason}"


def summary(study: optuna.Study) -> Summary:
    """Model, original costs, limits and trial counts of a study.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    attributes = study_record(study)
    trials = study.get_trials(deepcopy=False)
    found = _best(study)
    return Summary(
        name=study.study_name,
        model=attributes["model"],
        metric=attributes["metric"],
        higher_is_better=attributes["higher_is_better"],
        samples=attributes["samples"],
        baseline=_baseline(
            attributes["baseline"],
            qualities_on_test(study),
            trials_of(study),
            _judged(study)[1],
            dict(attributes.get("others", {})),
        ),
        limits=dict(attributes["limits"]),
        trials=Counter(map(state_of, trials)),
        best=None if found is None else found.number,
        front=len(front_trials(study)),
        granularity=_masked_granularity(attributes),
        sparsified=str(attributes.get("config", {}).get("sparsify") or ""),
        sparsified_quality=attributes.get("sparsified_quality"),
    )


def measured_on(trial: FrozenTrial) -> str:
    """Key of the device on which the trial's latency was measured; empty without one."""
    return attributes_of(trial).timing.device


def front_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Pareto-optimal trials within the budget, by number; of trials with the same plan, the first.

    Their quality is the ranked one if the search has ended with a holdout split, otherwise the objective
    value. If the budget limits latency, only trials timed on the study's current device count, because
    milliseconds of two devices are not comparable. The trials must not be modified.

    Raises:
        StudyError: one of them lacks values that another version of autoprune did not record.
    """
    return _shown(study, *_judged(study))


def guided_front(study: optuna.Study) -> list[FrozenTrial]:
    """The front by objective values only, without the ranking of finalists.

    The same trials as ``study.best_trials``, but without its deep copies, which take seconds in a long study.
    """
    return _nondominated(study, feasible_trials(study), {})


def estimate_of(study: optuna.Study, trial: FrozenTrial) -> Estimate:
    """Quality of a complete trial, as used for the front."""
    return estimates_of(study, [trial])[0]


def estimates_of(study: optuna.Study, trials: Iterable[FrozenTrial]) -> list[Estimate]:
    """Qualities of several complete trials; the front is computed once."""
    ranking = _judged(study)[1]
    return [ranking.get(str(trial.number), guided(trial)) for trial in trials]


def _judged(study: optuna.Study) -> tuple[list[FrozenTrial], Mapping[str, Estimate]]:
    """The candidates for the front, and their qualities if these differ from the objective values."""
    feasible, ranking = feasible_trials(study), ranked(study)
    if not in_use(ranking, _nondominated(study, feasible, {})):
        return feasible, {}
    return [trial for trial in feasible if str(trial.number) in ranking], ranking


def _values(trial: FrozenTrial, ranking: Mapping[str, Estimate]) -> list[float]:
    """Objective values, the first one as ranked."""
    estimate = ranking.get(str(trial.number))
    return [trial.values[0] if estimate is None else estimate.quality, *trial.values[1:]]


def _shown(
    study: optuna.Study, trials: Sequence[FrozenTrial], ranking: Mapping[str, Estimate]
) -> list[FrozenTrial]:
    """The nondominated trials, checked for everything that is shown."""
    found = _nondominated(study, trials, ranking)
    for trial in found:
        check_trial(study, trial)
    return found


def _nondominated(
    study: optuna.Study, trials: Sequence[FrozenTrial], ranking: Mapping[str, Estimate]
) -> list[FrozenTrial]:
    if not trials:
        return []
    values = np.array([_values(trial, ranking) for trial in trials], dtype=float)
    maximise = [direction is StudyDirection.MAXIMIZE for direction in study.directions]
    on_front = moocore.is_nondominated(values, maximise=maximise, keep_weakly=True)
    plans: dict[object, FrozenTrial] = {}
    for trial, is_on_front in zip(trials, on_front, strict=True):
        if is_on_front:
            plans.setdefault(attributes_of(trial).plan or trial.number, trial)
    return list(plans.values())


def feasible_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that meet every constraint, by number; they must not be modified.

    Candidates that were stopped early are excluded: their quality is a forecast.
    """
    return [trial for trial in affordable_trials(study) if attributes_of(trial).stopped_at is None]


def affordable_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Feasible trials, including candidates that were stopped early."""
    trials = trials_of(study, (TrialState.COMPLETE,))
    record = study_record(study) if RECORD in study.user_attrs else {}
    if "latency" in record.get("limits", {}):
        trials = [trial for trial in trials if timed_here(trial, record)]
    return [trial for trial in trials if all(excess <= 0 for excess in trial.constraints.values())]


def timed_here(trial: FrozenTrial, record: Mapping[str, Any]) -> bool:
    """Whether the trial's latency, if any, was measured on the study's current device."""
    return measured_on(trial) in ("", record.get("device_key"))


def _masked_granularity(attributes: Mapping[str, Any]) -> str:
    granularity = str(attributes.get("config", {}).get("granularity", UNITS))
    return "" if granularity == UNITS else granularity


def _best(study: optuna.Study) -> FrozenTrial | None:
    signs = [-1 if direction is StudyDirection.MAXIMIZE else 1 for direction in study.directions]
    trials, ranking = _judged(study)

    def losses(trial: FrozenTrial) -> tuple[float, ...]:
        values = _values(trial, ranking)
        return *(sign * value for sign, value in zip(signs, values, strict=True)), trial.number

    return min(trials, key=losses, default=None)


def _row(
    trial: FrozenTrial,
    metric: str,
    test: Mapping[str, float],
    record: Mapping[str, Any],
    others: Sequence[str],
) -> dict[str, object]:
    known = attributes_of(trial)
    shown = (*_COSTS, *_MASKED, *(_LATENCY if timed_here(trial, record) else ()), "origin")
    names = (*_COSTS, *_MASKED, *_LATENCY, "origin")
    return {
        "trial": trial.number,
        f"test_{metric}": test.get(str(trial.number)),
        **{name: known.objective(name) for name in others},
        **dict.fromkeys(names),
        **known.known(shown),
    }


def _quality(trial: FrozenTrial, metric: str, ranking: Mapping[str, Estimate]) -> dict[str, object]:
    """The columns of a trial's quality and its error."""
    first = guided(trial)
    estimate = ranking.get(str(trial.number), first)
    return {
        metric: estimate.quality,
        f"{metric}_error": estimate.error,
        f"{metric}_low": estimate.low,
        f"{metric}_high": estimate.high,
        f"guiding_{metric}": first.quality if ranking else None,
    }


def _baseline(
    costs: Mapping[str, Any],
    test: Mapping[str, float],
    trials: Iterable[FrozenTrial],
    ranking: Mapping[str, Estimate],
    others: Mapping[str, float],
) -> Baseline:
    original = next(
        (trial for trial in trials if attributes_of(trial).origin == "original" and trial.values), None
    )
    guiding = Estimate(costs["quality"], costs.get("quality_error"))
    if original is not None and guiding.error is None:
        guiding = guided(original)
    estimate = ranking.get(ORIGINAL, guiding)
    return Baseline(
        trial=None if original is None else original.number,
        quality=estimate.quality,
        quality_error=estimate.error,
        test_quality=test.get("baseline"),
        flops=int(costs["flops"]),
        parameters=int(costs["parameters"]),
        size=int(costs["size"]),
        latency_ms=costs.get("latency_ms"),
        nonzero=costs.get("nonzero"),
        others=others,
    )
