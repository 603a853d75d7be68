"""What autoprune records of trials, and of a study beside its record: typed, and nothing of it is believed.

Others may have written a study. A trial with an attribute that cannot be one is left out wherever trials are
compared, and said to be; an attribute of the study that cannot be one is an error of one line.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from autoprune.errors import StudyError
from autoprune.utils.printable import printable
from autoprune.utils.untrusted import MOST_GROUPS, MOST_TEXT

# Keys of a study's attributes.
RECORD: Final = "autoprune"
"""Study attribute: the study's record."""
READY: Final = "ready"
"""Study attribute: whether workers may join, for all that they need has been recorded."""
BUDGET_LEVELS: Final = "levels"
"""Study attribute: the budget levels, dearest first."""
THREADS: Final = "threads"
"""Study attribute: numbers of CPU threads that candidates were recovered with, each change one more."""
DEADLINE: Final = "deadline"
"""Study attribute: when the time budget of the search ends, in seconds since 1970; None without one."""
WALL: Final = "wall_seconds"
"""Study attribute: seconds that its searches took; of a worker, with ``:`` and its name after it."""
SENSITIVITY: Final = "sensitivity"
"""Study attribute: the groups' sensitivity curves, and the seconds that they took."""
TEST: Final = "test"
"""Study attribute: number of a trial, or ``"baseline"`` -> quality on test data."""
RANKING: Final = "ranking"
"""Study attribute: number of a finalist, or ORIGINAL -> its quality corrected by the holdout split."""
UNCHOSEN: Final = "ranking_samples_alone"
"""Study attribute: the same on the holdout split alone, which selected nothing."""

# Keys of a trial's attributes.
ORIGIN: Final = "origin"
"""Trial attribute: who proposed it."""
WIDTHS: Final = "widths"
"""Trial attribute: group -> width."""
PLAN: Final = "plan"
"""Trial attribute: the hash of its plan; ``"original"`` where nothing is cut."""
REASON: Final = "reason"
"""Trial attribute: why it has no result."""
FLOPS_RATIO: Final = "flops_ratio"
"""Trial attribute: its FLOPs as a share of the original's."""
RETRY_OF: Final = "retry_of"
"""Trial attribute: number of the trial that it repeats."""
PROCESS: Final = "process"
"""Trial attribute: who runs it."""
HEARTBEAT: Final = "beat"
"""Trial attribute: a number that grows while its process runs."""
CLAIM: Final = "claim"
"""Trial attribute: the plan that it announces, and whether it has begun."""
DUPLICATE_OF: Final = "duplicate_of"
"""Trial attribute: number of the first trial with the same plan, whose results it copies."""
REFINED_FROM: Final = "refined_from"
"""Trial attribute of a refined one: the trial on the front that it varies."""
UNTRAINED: Final = "untrained"
"""Trial attribute: true of a plan's preview, which is scored without training before the plan is trained."""
STAGES: Final = "stages"
"""Trial attribute: stage -> its estimate and decision."""
STOPPED: Final = "stopped_at"
"""Trial attribute: the stage that stopped a candidate early. Its first value is then a forecast."""
EXPECTED: Final = "expected_quality"
"""Trial attribute: the quality that a candidate would probably have had that was stopped early."""
RECOVERED: Final = "recovered_weights"
"""Trial attribute: SHA-256 of the weights that were scored."""
MICRO_BATCHES: Final = "pieces"
"""Trial attribute: in how many micro-batches each batch was computed; missing where it was one."""
MIXTURE: Final = "mixture"
"""Trial attribute: group -> criterion -> weight."""
SCALES: Final = "scales"
"""Trial attribute: group -> coefficient, for trials that separate groups that share a parameter."""
TIMING: Final = "timing"
"""Trial attribute with a measured latency: what was measured, where, and how well."""
PREDICTED: Final = "latency_predicted"
"""Trial attribute: the latency that was expected before it was measured, as a share of the original's."""

SAMPLER, REST = "sampler", "rest"

_T = TypeVar("_T")

MOST_NUMBER = 1e100
"""Numbers beyond it overflow where they are squared, and nothing that is measured is as large."""
_MOST_PLACE = 120
"""Characters of the name of what is wrong."""
_NAMED = 3
"""Trials that are left out and named; the others are counted."""

Text = Annotated[str, Field(max_length=MOST_TEXT)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-MOST_NUMBER, le=MOST_NUMBER)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0, le=MOST_NUMBER)]
NotNegative = Annotated[float, Field(allow_inf_nan=False, ge=0, le=MOST_NUMBER)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Width = Annotated[int, Field(ge=0, lt=2**31)]
_Key = Annotated[int, Field(strict=False, ge=0, lt=2**31)]
"""A width as a key of JSON, which knows texts alone."""


class _Parsed(BaseModel):
    """The attributes that are read, with their types; more may be there."""

    model_config = ConfigDict(strict=True, frozen=True)


class Stage(_Parsed):
    """What a stage of the evaluation found: its estimate of the quality, or the cost."""

    estimate: Number | None = None


class Timing(_Parsed):
    """How latency was measured: the key of the device."""

    device: Text = ""


class TrialAttributes(_Parsed):
    """The user attributes of a trial, called as their keys; None for one that it does not have.

    Costs and qualities are those of :func:`autoprune.front`; `seconds` are by stage, `widths` by group.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    origin: Text | None = None
    reason: Text | None = None
    plan: Text | None = None
    duplicate_of: Count | None = None
    stopped_at: Text | None = None
    untrained: bool | None = None
    widths: Annotated[Mapping[Text, Width], Field(max_length=MOST_GROUPS)] | None = None
    scales: Mapping[Text, Positive] = Field(default_factory=dict)
    mixture: Mapping[Text, Mapping[Text, NotNegative]] = Field(default_factory=dict)
    flops: Count | None = None
    flops_ratio: NotNegative | None = None
    parameters: Count | None = None
    size: Count | None = None
    nonzero: Count | None = None
    nonzero_ratio: NotNegative | None = None
    effective_multiply_adds: NotNegative | None = None
    latency_ms: NotNegative | None = None
    latency_ratio: NotNegative | None = None
    latency_low: NotNegative | None = None
    latency_high: NotNegative | None = None
    latency_predicted: Number | None = None
    quality: Number | None = None
    quality_error: NotNegative | None = None
    quality_low: Number | None = None
    quality_high: Number | None = None
    loss: float | None = None
    seconds: Mapping[Text, NotNegative] = Field(default_factory=dict)
    stages: Mapping[Text, Stage] = Field(default_factory=dict)
    timing: Timing = Timing()

    def objective(self, name: str) -> float | None:
        """A further quality, which goes by a name of the user's; None where there is no such number."""
        value = (self.model_extra or {}).get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) <= MOST_NUMBER else None

    def known(self, names: Sequence[str]) -> dict[str, Any]:
        """Those of the attributes that the trial has."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Sensitivity(_Parsed):
    """What cutting one group alone costs: group -> width -> increase of the loss, None for one not finite."""

    seconds: NotNegative = 0.0
    points: Annotated[Mapping[Text, Mapping[_Key, Number | None]], Field(max_length=MOST_GROUPS)] = Field(
        default_factory=dict
    )


_STRICT = ConfigDict(strict=True)
_SENSITIVITY: TypeAdapter[Sensitivity | None] = TypeAdapter(Sensitivity | None)
_QUALITIES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Text, Number], config=_STRICT)
_SECONDS: TypeAdapter[float] = TypeAdapter(NotNegative, config=_STRICT)
_CONSTRAINTS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Text, float], config=_STRICT)


def attributes_of(trial: FrozenTrial) -> TrialAttributes:
    """The attributes of a trial. Raises StudyError where one of them cannot be one."""
    found = _Known.of(trial)
    if found.attributes is None:
        raise StudyError(f"trial {trial.number} cannot be read: {found.wrong}: choose another one")
    return found.attributes


def is_readable(trial: FrozenTrial) -> bool:
    """Whether each attribute of a trial can be one, and its values are numbers."""
    return _Known.of(trial).attributes is not None


def trials_of(study: optuna.Study, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
    """The trials that can be read, by number, of these states; they must not be changed."""
    trials, objectives = study.get_trials(deepcopy=False, states=states), len(study.directions)
    return [trial for trial in trials if is_readable(trial) and _fits(trial, objectives)]


def left_out(study: optuna.Study) -> str:
    """Which trials cannot be read, and why, in one line; empty where all can."""
    readable = {trial.number for trial in trials_of(study)}
    wrong = [trial for trial in study.get_trials(deepcopy=False) if trial.number not in readable]
    if not wrong:
        return ""
    named = "; ".join(
        f"trial {trial.number} ({_Known.of(trial).wrong or 'it has values of other objectives'})"
        for trial in wrong[:_NAMED]
    )
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return f"left out because they cannot be read: {named}{more}"


def qualities_on_test(study: optuna.Study) -> Mapping[str, float]:
    """Number of a trial, or ``"baseline"`` -> quality on test data. Raises StudyError."""
    return study_attribute(study, TEST, _QUALITIES, {})


def sensitivity_of(study: optuna.Study) -> Sensitivity | None:
    """The sensitivity that was measured; None where none was. Raises StudyError."""
    return study_attribute(study, SENSITIVITY, _SENSITIVITY, None)


def wall_seconds(study: optuna.Study) -> list[float]:
    """Seconds that each search and worker of the study took. Raises StudyError."""
    keys = [key for key in study.user_attrs if key.partition(":")[0] == WALL]
    return [study_attribute(study, key, _SECONDS, 0.0) for key in keys]


def study_attribute(study: optuna.Study, key: str, form: TypeAdapter[_T], default: _T) -> _T:
    """A user attribute of a study in its form, or the default. Raises StudyError where it has another."""
    try:
        value = study.user_attrs.get(key)
        return default if value is None else form.validate_python(value)
    except ValidationError as error:
        raise wrong_record(study, error, key) from None


def wrong_record(study: optuna.Study, error: ValidationError, key: str = "") -> StudyError:
    """What to say of a study whose record is not what autoprune writes."""
    return StudyError(
        f"study {study.study_name!r} cannot be read: its record of {_first(error, key)}: "
        "it was made by another version, or changed by hand"
    )


def _first(error: ValidationError, key: str = "") -> str:
    """The place and the kind of the first thing that is wrong."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, [*([key] if key else []), *first["loc"]]))
    return f"{printable(place)[:_MOST_PLACE]} is wrong ({first['msg']})"


def _fits(trial: FrozenTrial, objectives: int) -> bool:
    """Whether a trial has a value of each objective, or none where it need not have any."""
    count = len(trial.values or ())
    return count == objectives or (count == 0 and trial.state is not TrialState.COMPLETE)


class _Known:
    """What is known of a trial, read once: what has finished does not change any more."""

    _all: ClassVar[dict[int, tuple[weakref.ref[FrozenTrial], _Known]]] = {}

    def __init__(self, trial: FrozenTrial) -> None:
        self.attributes: TrialAttributes | None = None
        self.wrong = ""
        try:
            attributes = TrialAttributes.model_validate(trial.user_attrs)
            _CONSTRAINTS.validate_python(trial.constraints)
        except ValidationError as error:
            self.wrong = f"its {_first(error)}"
        except (TypeError, ValueError, AttributeError):  # from Optuna's reader of constraints
            self.wrong = "its constraints are no numbers"
        else:
            if all(_is_number(value) for value in trial.values or ()):
                self.attributes = attributes
            else:
                self.wrong = "its values are no finite numbers"

    @classmethod
    def of(cls, trial: FrozenTrial) -> _Known:
        """What is known of this trial."""
        place = id(trial)
        kept = cls._all.get(place)
        if kept is not None and kept[0]() is trial:
            return kept[1]
        found = cls(trial)
        if trial.state.is_finished():
            cls._all[place] = weakref.ref(trial, lambda _: cls._all.pop(place, None)), found
        return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= MOST_NUMBER
