"""Estimates of a trial's quality with their errors: as finalists were ranked, else on the selection split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict, TypeAdapter

from autoprune.study.attributes import (
    RANKING,
    NotNegative,
    Number,
    Text,
    attributes_of,
    study_attribute,
)

ORIGINAL = "baseline"


@dataclass(frozen=True)
class Estimate:
    """A quality with the noise of its estimate.

    Attributes:
        quality: the study's metric.
        error: its standard error; None if unknown, like the bounds.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    quality: float
    error: float | None = None
    low: float | None = None
    high: float | None = None


class _Recorded(BaseModel):
    """A recorded estimate."""

    model_config = ConfigDict(strict=True, extra="forbid")

    quality: Number
    error: NotNegative | None = None
    low: Number | None = None
    high: Number | None = None


_RANKING: TypeAdapter[dict[str, _Recorded]] = TypeAdapter(dict[Text, _Recorded])


def guided(trial: FrozenTrial) -> Estimate:
    """A finished trial's quality on the selection split."""
    known = attributes_of(trial)
    return Estimate(trial.values[0], known.quality_error, known.quality_low, known.quality_high)


def ranked(study: optuna.Study, attribute: str = RANKING) -> dict[str, Estimate]:
    """Trial number as a string, or ORIGINAL -> its ranked estimate; empty if nothing was ranked.

    Raises StudyError if the attribute is invalid.
    """
    recorded = study_attribute(study, attribute, _RANKING, {})
    return {name: Estimate(**dict(values)) for name, values in recorded.items()}


def corrected(
    unchosen: Mapping[str, Estimate], guiding: Mapping[str, float], share: float
) -> dict[str, Estimate]:
    """The qualities by which finalists are ranked and reported.

    Differences between finalists are taken from all samples, their common level from the holdout split: the
    weighted mean of both splits, minus the average overestimate of the selection split. The noise is that of
    the level.

    Args:
        unchosen: number, or ORIGINAL -> quality on the holdout split.
        guiding: number -> quality of the finalists on the selection split.
        share: share of all samples in the selection split.
    """
    if not guiding:
        return dict(unchosen)
    flattery = fmean(quality - unchosen[name].quality for name, quality in guiding.items())
    found = dict(unchosen)
    for name, quality in guiding.items():
        found[name] = _moved(unchosen[name], share * (quality - unchosen[name].quality - flattery))
    return found


def _moved(estimate: Estimate, by: float) -> Estimate:
    bounds = (None if bound is None else bound + by for bound in (estimate.low, estimate.high))
    return Estimate(estimate.quality + by, estimate.error, *bounds)


def in_use(ranking: Mapping[str, Estimate], guided_front: Iterable[FrozenTrial]) -> bool:
    """Whether the ranking applies: it must cover the whole front on the selection split.

    In a continued search, a new trial on that front makes it outdated until the end.
    """
    numbers = {str(trial.number) for trial in guided_front}
    return bool(numbers) and numbers <= set(ranking)
