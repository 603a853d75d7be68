"""What autoprune recorded about a study, of which nothing is believed: others may have written it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoprune.documents import MOST_GROUPS, MOST_TEXT
from autoprune.errors import StudyError

_Text = Annotated[str, Field(max_length=MOST_TEXT)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Width = Annotated[int, Field(ge=0, lt=2**31)]


_BASELINE = ("quality", "flops", "parameters", "size")
_TRIAL = ("flops", "flops_ratio", "parameters", "size", "widths", "origin")


class _Record(BaseModel):
    """The parts that are used, with their types; more may be there."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: _Text
    metric: _Text
    higher_is_better: bool
    samples: Annotated[int, Field(ge=0)]
    baseline: Mapping[_Text, float | None]
    limits: Mapping[_Text, _Number]
    sparsified_quality: float | None = None
    others: Mapping[_Text, float] = Field(default_factory=dict)
    weights: _Text = ""
    config: Mapping[_Text, Any] = Field(default_factory=dict)
    budget: list[_Text] = Field(default_factory=list)
    groups: Annotated[Mapping[_Text, _Width], Field(max_length=MOST_GROUPS)] = Field(default_factory=dict)
    stairs: Annotated[Mapping[_Text, list[_Width]], Field(max_length=MOST_GROUPS)] = Field(
        default_factory=dict
    )
    device: Mapping[_Text, Any] = Field(default_factory=dict)
    device_key: _Text = ""

    @field_validator("baseline")
    @classmethod
    def _only_qualities_may_be_undefined(cls, baseline: Mapping[str, Any]) -> Mapping[str, Any]:
        """A metric may be NaN, as a correlation with a constant is; a cost is a number."""
        for name, value in baseline.items():
            if isinstance(value, float) and not math.isfinite(value) and not name.startswith("quality"):
                raise ValueError(f"{name} should be a finite number")
        return baseline


def study_record(study: optuna.Study) -> Mapping[str, Any]:
    """What autoprune recorded about the study.

    Raises:
        StudyError: when it is none of autoprune's, or what is recorded is not what autoprune writes.
    """
    attributes = study.user_attrs.get("autoprune")
    if not isinstance(attributes, Mapping):
        raise StudyError(
            f"study {study.study_name!r} was not made by autoprune: name another one of its storage, "
            "or run autoprune search first"
        )
    try:
        _Record.model_validate(attributes)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:MOST_TEXT]
        raise StudyError(
            f"study {study.study_name!r} cannot be read: its record of {place} is wrong ({first['msg']}): "
            "it was made by another version, or changed by hand"
        ) from None
    _require(study, "the uncut model", _BASELINE, attributes["baseline"])
    return attributes


def check_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Raise StudyError for an evaluated trial that lacks what every trial of the front is shown with."""
    _require(study, f"trial {trial.number}", _TRIAL, trial.user_attrs)


def _require(study: optuna.Study, what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    missing = [name for name in names if known.get(name) is None]
    if missing:
        raise StudyError(
            f"study {study.study_name!r} records no {missing[0]} of {what}: it was made by another version: "
            "open it with that one, or search again under another name"
        )
