"""What a study learned about the groups of its model, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from autoprune.config.settings import Config
from autoprune.criteria.curve import Curve, curves_through
from autoprune.criteria.mixture import SPARSIFIED
from autoprune.errors import StudyError
from autoprune.study.attributes import attributes_of, sensitivity_of
from autoprune.study.front import best
from autoprune.study.importances import Importances, importances
from autoprune.study.origins import AFTER_WARM_STARTS, SAMPLER, is_even
from autoprune.study.record import study_record

SHIFT = "shift of"
"""Prefix of the names of shift parameters."""


@dataclass(frozen=True)
class Learned:
    """What a study learned about one group.

    Attributes:
        group: its name.
        width: units in the original model.
        kept: units that stay in the trial.
        losses: width -> measured increase of the loss when only this group is pruned to it; empty if not
            measured.
        at_half: the increase at half of its units, from the curve; None if not measured.
        scale: the trial's factor for the curve; None without coefficients.
        shift: the trial's shift of the curve.
        criteria: criterion -> its weight in ranking the units.
        importance: share of the variance of quality over all trials; None for too few trials.
    """

    group: str
    width: int
    kept: int
    losses: Mapping[int, float | None]
    at_half: float | None
    scale: float | None
    shift: float | None
    criteria: Mapping[str, float]
    importance: float | None


@dataclass(frozen=True)
class Explanation:
    """What a trial of a study learned about each group.

    Attributes:
        study: its name.
        trial: number of the trial.
        origin: what suggested it.
        metric: name of the quality.
        groups: in the order of the forward pass.
        importances: the importances of the groups and their reliability; None if not available.
    """

    study: str
    trial: int
    origin: str
    metric: str
    groups: tuple[Learned, ...]
    importances: Importances | None

    @property
    def by_sensitivity(self) -> tuple[Learned, ...]:
        """The groups, the most sensitive first; unmeasured ones last, in their order."""
        return tuple(sorted(self.groups, key=lambda item: 1.0 if item.at_half is None else -item.at_half))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings, for JSON."""
        document = asdict(self)
        for item in document["groups"]:
            item["losses"] = {str(width): loss for width, loss in item["losses"].items()}
        return document


def explain(study: optuna.Study, number: int | None = None) -> Explanation:
    """Explain a trial, by default the best one.

    Raises:
        StudyError: the study was not made by autoprune, or the trial was not evaluated.
    """
    record = study_record(study)
    trial = _trial(study, number)
    full: Mapping[str, int] = record["groups"]
    curves, points = measured_curves(study), _points(study)
    scales, shifts = coefficients(record, trial)
    mixture = shares_of_criteria(record, trial)
    found = importances(study)
    widths = attributes_of(trial).widths or {}
    groups = tuple(
        Learned(
            group=name,
            width=width,
            kept=widths.get(name, width),
            losses=points.get(name, {}),
            at_half=_at_half(curves[name], width) if name in curves else None,
            scale=scales.get(name),
            shift=shifts.get(name),
            criteria=mixture.get(name, {}),
            importance=None if found is None else found.shares.get(name),
        )
        for name, width in full.items()
    )
    origin = attributes_of(trial).origin or SAMPLER
    return Explanation(study.study_name, trial.number, origin, str(record["metric"]), groups, found)


def measured_curves(study: optuna.Study) -> dict[str, Curve]:
    """Group -> its sensitivity curve over whole units, from the narrowest measured width to the full one."""
    full: Mapping[str, int] = study_record(study)["groups"]
    points = {
        name: row for name, row in _points(study).items() if row and name in full and max(row) <= full[name]
    }
    known = {name: full[name] for name in points}
    if not known:
        return {}
    offered = {name: list(range(min(points[name]), width + 1)) for name, width in known.items()}
    return curves_through(points, known, offered)


def coefficients(record: Mapping[str, Any], trial: FrozenTrial) -> tuple[dict[str, float], dict[str, float]]:
    """Scale and shift of each group in a trial; empty if its plan does not come from coefficients."""
    names: Sequence[str] = list(record["groups"])
    origin = attributes_of(trial).origin
    if is_even(origin):
        return dict.fromkeys(names, 1.0), {}
    ties: Mapping[str, Sequence[str]] = record.get("ties", {})
    found = _numbers(trial.params)
    if not ties or origin not in AFTER_WARM_STARTS or not all(found.get(name, 0.0) > 0 for name in ties):
        return {}, {}
    scales = {group: found[name] for name, groups in ties.items() for group in groups}
    scales |= {name: scale for name, scale in attributes_of(trial).scales.items() if name in names}
    shifts = {
        group: found[f"{SHIFT} {name}"]
        for name, groups in ties.items()
        for group in groups
        if f"{SHIFT} {name}" in found
    }
    return scales, shifts


def shares_of_criteria(record: Mapping[str, Any], trial: FrozenTrial) -> dict[str, dict[str, float]]:
    """Group -> criterion -> its weight in ranking the units; by default, only the configured criterion.

    Groups of a single unit, such as blocks, have no ranking. Sparse training is named after its method.
    """
    config: Mapping[str, Any] = record.get("config", {})
    default = Config.model_fields["criterion"].default
    configured, sparse = str(config.get("criterion", default)), config.get("sparsify")
    first = SPARSIFIED if sparse and configured == default else configured
    several = [name for name, width in record["groups"].items() if width > 1]
    weights = attributes_of(trial).mixture or {name: {first: 1.0} for name in several}
    shown = {SPARSIFIED: f"{sparse} training"}
    return {
        name: {
            shown.get(criterion, criterion): weight / sum(row.values())
            for criterion, weight in row.items()
            if weight > 0
        }
        for name, row in weights.items()
    }


def _trial(study: optuna.Study, number: int | None) -> FrozenTrial:
    if number is None:
        return best(study)
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials) or attributes_of(trials[number]).plan is None:
        raise StudyError(f"trial {number} was not evaluated: choose one that `autoprune front` lists")
    return trials[number]


def _points(study: optuna.Study) -> dict[str, dict[int, float | None]]:
    found = sensitivity_of(study)
    return {} if found is None else {name: dict(row) for name, row in found.points.items()}


def _numbers(params: Mapping[str, Any]) -> dict[str, float]:
    """The parameters that are finite numbers."""
    return {
        name: float(value)
        for name, value in params.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _at_half(curve: Curve, width: int) -> float:
    return float(np.interp(width / 2, curve.widths, curve.losses))
