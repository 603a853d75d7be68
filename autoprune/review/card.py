"""The data of a trial's model card, from the study's record."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial

from autoprune.cost import DeviceFingerprint
from autoprune.errors import StudyError
from autoprune.export.records import Card, Numbers
from autoprune.review.table import sparsified_text
from autoprune.study.attributes import attributes_of, qualities_on_test
from autoprune.study.front import estimate_of, summary
from autoprune.study.record import check_trial, study_record


def card_of(study: optuna.Study, trial: FrozenTrial, *, data: str = "") -> Card:
    """Numbers of a trial compared with those of the original model.

    Args:
        study: a study of autoprune.
        trial: one of its evaluated trials.
        data: name of the data; default: the setting of that name.

    Raises:
        StudyError: the study was not made by autoprune, or the trial was not evaluated.
    """
    record, overview, known = study_record(study), summary(study), attributes_of(trial)
    if not trial.values or known.widths is None:
        raise StudyError(f"trial {trial.number} was not evaluated: choose one that `autoprune front` lists")
    check_trial(study, trial)
    assert known.flops is not None and known.parameters is not None and known.size is not None
    baseline, test, widths = overview.baseline, qualities_on_test(study), known.widths
    return Card(
        title=overview.model,
        metric=overview.metric,
        data=data or str(record["config"].get("data") or ""),
        study=study.study_name,
        trial=trial.number,
        weights=record["weights"],
        before=Numbers(
            quality=baseline.quality,
            test=baseline.test_quality,
            flops=baseline.flops,
            parameters=baseline.parameters,
            size=baseline.size,
            latency_ms=baseline.latency_ms,
            nonzero=baseline.nonzero,
            others=baseline.others,
        ),
        after=Numbers(
            quality=estimate_of(study, trial).quality,
            test=test.get(str(trial.number)),
            flops=known.flops,
            parameters=known.parameters,
            size=known.size,
            latency_ms=known.latency_ms,
            latency_ratio=known.latency_ratio,
            latency_low=known.latency_low,
            latency_high=known.latency_high,
            nonzero=known.nonzero,
            effective_multiply_adds=known.effective_multiply_adds,
            others={name: value for name in baseline.others if (value := known.objective(name)) is not None},
        ),
        device=device_text(study),
        widths={name: (width, widths.get(name, width)) for name, width in record["groups"].items()},
        granularity=overview.granularity,
        sparsified=sparsified_text(overview),
    )


def device_text(study: optuna.Study) -> str:
    """The device on which the study's latencies were measured; empty if there are none."""
    device = study_record(study).get("device")
    return str(DeviceFingerprint(**device)) if device else ""
