"""The record of a study, validated because others may have written it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoprune.errors import StudyError
from autoprune.study.attributes import (
    MOST_NUMBER,
    RECORD,
    Count,
    Number,
    Text,
    Width,
    attributes_of,
    wrong_record,
)
from autoprune.utils.untrusted import MOST_GROUPS

_BASELINE = ("quality", "flops", "parameters", "size")
_TRIAL = ("flops", "flops_ratio", "parameters", "size", "widths", "origin")


_Units = Annotated[int, Field(ge=1, lt=2**31)]


class _Device(BaseModel):
    """The device of the latency measurement: the fields of :class:`autoprune.cost.DeviceFingerprint`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    processor: Text
    logical_cores: int
    vector_extension: Text
    accelerator: Text
    system: Text
    torch: Text
    runtime: Text
    runtime_version: Text
    threads: int
    inputs: Text
    dtype: Text
    channels_last: bool


class _Settings(BaseModel):
    """The settings that are read to display a study."""

    model_config = ConfigDict(strict=True, extra="allow")

    data: Text | None = None
    granularity: Text = ""
    sparsify: Text | None = None
    criterion: Text = ""
    mix: list[Text] = Field(default_factory=list)


class _Record(BaseModel):
    """The parts that are used, with their types; others are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: Text
    metric: Text
    higher_is_better: bool
    samples: Count
    baseline: Mapping[Text, float | None]
    limits: Mapping[Text, Number]
    sparsified_quality: Number | None = None
    others: Mapping[Text, float] = Field(default_factory=dict)
    weights: Text
    config: Mapping[Text, Any]
    budget: list[Text] = Field(default_factory=list)
    groups: Annotated[Mapping[Text, _Units], Field(max_length=MOST_GROUPS)]
    ties: Annotated[Mapping[Text, list[Text]], Field(max_length=MOST_GROUPS)] = Field(default_factory=dict)
    latency_steps: Annotated[Mapping[Text, list[Width]], Field(max_length=MOST_GROUPS)] = Field(
        default_factory=dict
    )
    device: Mapping[Text, Any] = Field(default_factory=dict)
    device_key: Text = ""

    @field_validator("baseline")
    @classmethod
    def _only_qualities_may_be_undefined(cls, baseline: Mapping[str, Any]) -> Mapping[str, Any]:
        """A metric may be NaN, such as a correlation with a constant; a cost must be finite."""
        for name, value in baseline.items():
            undefined = value is None or (name.startswith("quality") and math.isnan(value))
            if not undefined and not abs(value) <= MOST_NUMBER:
                raise ValueError(f"{name} should be a finite number")
        return baseline


def study_record(study: optuna.Study) -> Mapping[str, Any]:
    """The record that autoprune wrote about the study.

    Raises:
        StudyError: if it is not a study of autoprune, or the record is invalid.
    """
    attributes = study.user_attrs.get(RECORD)
    if not isinstance(attributes, Mapping):
        raise StudyError(
            f"study {study.study_name!r} was not made by autoprune: name another one of its storage, "
            "or run autoprune search first"
        )
    try:
        record = _Record.model_validate(attributes)
    except ValidationError as error:
        raise wrong_record(study, error) from None
    try:
        _Settings.model_validate(record.config)
    except ValidationError as error:
        raise wrong_record(study, error, "config") from None
    try:
        if record.device:
            _Device.model_validate(record.device)
    except ValidationError as error:
        raise wrong_record(study, error, "device") from None
    _require(study, "the original model", _BASELINE, attributes["baseline"])
    return attributes


def check_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Raise StudyError for an evaluated trial that lacks values that the front displays."""
    known, others = attributes_of(trial), study_record(study).get("others", {})
    values = {**known.known(_TRIAL), **{name: known.objective(name) for name in others}}
    _require(study, f"trial {trial.number}", (*_TRIAL, *others), values)


def _require(study: optuna.Study, what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    missing = [name for name in names if known.get(name) is None]
    if missing:
        raise StudyError(
            f"study {study.study_name!r} records no {missing[0]} of {what}: it was made by another version: "
            "open it with that version, or search again under another name"
        )
