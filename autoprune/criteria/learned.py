"""A learned criterion as a file: what a trial of a search found out about the groups of a model.

This is the only reader of ``criterion.json``, and here are its limits. Reading runs nothing: what a file may
name are criteria, which are looked up when it is applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from autoprune.criteria.curve import Curve, curves_through, weighted
from autoprune.errors import CriterionError
from autoprune.utils.atomic_files import replace_file, why_not_written
from autoprune.utils.untrusted import MOST_GROUPS, MOST_UNITS, json_object, read_text, short

SCHEMA: Literal[1] = 1
MOST_POINTS, MOST_BASES = 256, 32
"""Measured widths of a group, and criteria that count in it, in a file."""
_SHOWN = 60

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Text = Annotated[str, Field(max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Factor = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e6)]
Share = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e6)]
Width = Annotated[int, Field(ge=0, le=MOST_UNITS)]
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, config=_STRICT)
class LearnedGroup:
    """What was learned about one group.

    Attributes:
        width: units of the original model.
        weights: criterion -> how much it counts for the order of the units; of blocks none does.
        scale: what the group's sensitivity curve is multiplied by.
        shift: what is added to that for each share of its units, relative to the median group's largest loss.
        losses: width -> measured increase of the loss when the group is cut to it, in a model cut evenly
            to the budget; None for one that was not finite.
    """

    width: Annotated[int, Field(ge=1, le=MOST_UNITS)]
    weights: Annotated[Mapping[Name, Share], Field(max_length=MOST_BASES)]
    losses: Annotated[Mapping[Width, Number | None], Field(min_length=1, max_length=MOST_POINTS)]
    scale: Factor = 1.0
    shift: Share = 0.0


@dataclass(frozen=True, config=_STRICT)
class Provenance:
    """Where a criterion was learned.

    Attributes:
        model: readable name of the model.
        weights: SHA-256 of its weights.
        data: name of the data.
        budget: limits of the search, such as ``flops=50%``.
        study: name of the study.
        trial: number of the trial.
        origin: what suggested it.
        metric: name of the quality.
        quality: of the trial's model, on validation data.
        original_quality: of the original model, on the same.
        flops_ratio: share of the original model's FLOPs.
        seed: of the search.
        versions: package -> version.
    """

    model: Text
    weights: Text
    data: Text
    budget: Annotated[tuple[Text, ...], Field(max_length=16)]
    study: Text
    trial: Annotated[int, Field(ge=0)]
    origin: Text
    metric: Text
    quality: Number
    original_quality: Number
    flops_ratio: Number
    seed: Annotated[int, Field(ge=0)]
    versions: Annotated[Mapping[Name, Text], Field(max_length=32)]


@dataclass(frozen=True, config=_STRICT)
class Allowed:
    """The settings that said what could be cut, without which the groups are others."""

    skip: tuple[Text, ...] = ()
    only: tuple[Text, ...] = ()
    first_last: Literal["prune", "keep"] = "prune"
    shared: Literal["joint", "frozen", "untie"] = "joint"
    attention: Literal["heads", "width"] = "heads"
    depth: bool = False


@dataclass(frozen=True, config=_STRICT)
class LearnedCriterion:
    """Which units matter least, and how much each group may lose of them, as a search learned it.

    Attributes:
        schema: version of the file's form.
        groups: name -> what was learned about it.
        provenance: where.
        allowed: what could be cut.
    """

    schema: Literal[1]
    groups: Annotated[Mapping[Name, LearnedGroup], Field(min_length=1, max_length=MOST_GROUPS)]
    provenance: Provenance
    allowed: Allowed = field(default_factory=Allowed)

    @property
    def bases(self) -> tuple[str, ...]:
        """The criteria that count anywhere."""
        names = (n for group in self.groups.values() for n, weight in group.weights.items() if weight > 0)
        return tuple(dict.fromkeys(names))

    @property
    def scales(self) -> dict[str, float]:
        """Group -> scale."""
        return {name: group.scale for name, group in self.groups.items()}

    @property
    def shifts(self) -> dict[str, float]:
        """Group -> shift."""
        return {name: group.shift for name, group in self.groups.items()}

    def narrowest(self, group: str) -> int:
        """The least width of a group for which a loss is known."""
        return min(self.groups[group].losses)

    def curves(self, offered: Mapping[str, list[int]]) -> dict[str, Curve]:
        """Group -> its stored curve at these ascending widths, not yet multiplied by its scale."""
        points = {name: self.groups[name].losses for name in offered}
        full = {name: self.groups[name].width for name in offered}
        return curves_through(points, full, offered)

    def weighted(self, curves: Mapping[str, Curve]) -> dict[str, Curve]:
        """The curves with what was learned applied to them."""
        return weighted(curves, self.scales, self.shifts)

    def check(self, widths: Mapping[str, int], where: str = "the criterion") -> None:
        """Raise CriterionError, naming the difference, unless it is for groups of these names and widths."""
        fits = f"{where} is for another architecture or other settings of what may be cut"
        missing = [name for name in widths if name not in self.groups]
        beyond = [name for name in self.groups if name not in widths]
        if missing:
            raise CriterionError(f"{fits}: it knows nothing of the group {missing[0]!r}{_more(missing)}")
        if beyond:
            raise CriterionError(f"{fits}: this model has no group {beyond[0]!r}{_more(beyond)}")
        for name, width in widths.items():
            if self.groups[name].width != width:
                raise CriterionError(
                    f"{fits}: the group {name!r} had {self.groups[name].width} units and has {width} here"
                )

    def to_json(self) -> str:
        """The criterion as JSON text; equal criteria give equal texts."""
        return _ADAPTER.dump_json(self, indent=1).decode() + "\n"

    def save(self, file: str | Path) -> None:
        """Write the JSON text to a file, whole or not at all. Raises CriterionError where it cannot be."""
        try:
            replace_file(Path(file), self.to_json())
        except OSError as error:
            raise CriterionError(f"cannot write {file} {why_not_written(error)}") from error

    @classmethod
    def from_json(cls, text: str, where: str = "the criterion") -> LearnedCriterion:
        """Read a criterion. Raises CriterionError that names what is wrong with it."""
        document = json_object(text, where, CriterionError)
        _check_extent(document, where)
        # One by one, for a validator that is given a large file finds all that is wrong before it says any.
        groups = document.get("groups")
        for name, group in groups.items() if isinstance(groups, dict) else ():
            _validated(_GROUP, json.dumps(group), where, ("groups", name))
        found = _validated(_ADAPTER, text, where)
        empty = [n for n, group in found.groups.items() if group.weights and not any(group.weights.values())]
        if empty:
            raise CriterionError(f"{where}: no criterion counts in the group {empty[0]!r}: give one a weight")
        return found


def read_criterion(file: Path) -> LearnedCriterion:
    """The criterion in a file. Raises CriterionError when it cannot be read or holds something else."""
    return LearnedCriterion.from_json(read_text(file, "criterion", CriterionError), str(file))


_ADAPTER, _GROUP = TypeAdapter(LearnedCriterion), TypeAdapter(LearnedGroup)
Read = TypeVar("Read")


def _validated(adapter: TypeAdapter[Read], text: str, where: str, place: tuple[str, ...] = ()) -> Read:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise CriterionError(" ".join(f"{where}: {_explained(error, place)}".split())) from None


def _check_extent(value: dict[str, Any] | list[Any], where: str, place: str = "") -> None:
    """Raise CriterionError for a list or an object with more in it than any criterion has."""
    if len(value) > (MOST_GROUPS if place == "groups" else MOST_POINTS):
        raise CriterionError(f"{where}: {short(place) if place else 'it'} has too many entries")
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, dict | list):
            _check_extent(part, where, f"{place}.{key}"[:_SHOWN] if place else str(key)[:_SHOWN])


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _explained(error: ValidationError, inside: tuple[str, ...]) -> str:
    """The first thing that is wrong, with its place, in one line."""
    (first, *others) = error.errors(include_url=False, include_input=False)
    place = ".".join(str(part)[:_SHOWN] for part in (*inside, *first["loc"]))
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key {place}{more}"
    reason = first["msg"].splitlines()[0]
    return f"{place + ': ' if place else ''}{reason[0].lower()}{reason[1:]}{more}"
