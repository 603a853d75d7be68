"""Plans: which units of each group stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from autoprune.errors import PlanError
from autoprune.structure.groups import AttentionUnit, Structure
from autoprune.structure.overview import Overview, kept_text
from autoprune.utils.overview import counted, listed
from autoprune.utils.untrusted import (
    MOST_GROUPS,
    MOST_TEXT,
    MOST_UNITS,
    check_keys,
    is_text,
    is_whole,
    json_object,
)

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Plan(Overview):
    """The units that stay, for every group that loses some.

    Attributes:
        keep: group name -> units that stay, ascending; a group that is not named stays whole, and a
            block with no units goes whole.
        model: what the plan was made for, such as ``"torchvision:resnet18"``.
        weights: SHA-256 of the weights that it was made for, or empty.
        untied: whether every use of a shared weight has its own copy, which the plan cuts by itself.
        attention: what a unit of an attention is, see :func:`autoprune.discover`.

    Examples:
        >>> import autoprune
        >>> plan = autoprune.Plan({"0": (0, 2, 5)}, model="mine")
        >>> autoprune.Plan.from_json(plan.to_json())
        Plan
          cuts    1 group, of which 3 units stay
          widths  0: 3
          model   mine
    """

    keep: Mapping[str, tuple[int, ...]]
    model: str = field(default="", compare=False)
    weights: str = field(default="", compare=False)
    untied: bool = False
    attention: AttentionUnit = "heads"

    @classmethod
    def of(
        cls, structure: Structure, keep: Mapping[str, tuple[int, ...]], *, model: str = "", weights: str = ""
    ) -> Plan:
        """The plan that keeps these units of a model with that structure."""
        return cls(keep, model, weights, structure.untying is not None, structure.attention)

    def widths(self, structure: Structure) -> dict[str, int]:
        """Width of every group after the cut."""
        return {g.name: len(self.keep.get(g.name, range(g.width))) for g in structure.groups}

    @property
    def depth(self) -> bool:
        """Whether blocks are taken out, so that only a structure discovered with ``depth`` fits."""
        return any(not units for units in self.keep.values())

    def check(self, structure: Structure) -> None:
        """Raise PlanError unless the plan fits the structure, removes something and empties nothing."""
        if self.untied != (structure.untying is not None):
            other = "'untie'" if self.untied else "'joint' or 'frozen'"
            raise PlanError(
                f"the plan treats shared weights differently: discover the model with shared={other}"
            )
        if self.attention != structure.attention:
            raise PlanError(
                f"the plan cuts attention by {self.attention}: discover the model with "
                f"attention={self.attention!r}"
            )
        widths = structure.widths
        least = {group.name: group.least for group in structure.groups}
        for name, units in self.keep.items():
            if name not in widths:
                raise PlanError(f"the plan names the group {name!r}, which this model does not have")
            if not units and least[name] > 0:
                raise PlanError(f"the plan empties {name!r}: keep at least one of its {widths[name]} units")
            if list(units) != sorted(set(units)) or not set(units) <= set(range(widths[name])):
                raise PlanError(
                    f"the plan's units for {name!r} must be ascending numbers from 0 to {widths[name] - 1}"
                )
        if self.widths(structure) == widths:
            raise PlanError("the plan removes nothing: lower the width of at least one group")

    def canonical(self, structure: Structure) -> Plan:
        """The shortest plan that gives the same model.

        Groups that stay whole are not named, nor are those that lie within a block which goes whole.
        """
        full, widths = structure.widths, structure.canonical(self.widths(structure))
        return replace(
            self, keep={name: units for name, units in self.keep.items() if widths[name] < full[name]}
        )

    @property
    def hash(self) -> str:
        """SHA-256 of what is kept; equal plans have equal hashes."""
        text = json.dumps({name: list(self.keep[name]) for name in sorted(self.keep)})
        text += " untied" if self.untied else ""
        text += " width" if self.attention == "width" else ""
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The plan as JSON text with its schema version."""
        document = {
            "schema": SCHEMA,
            "model": self.model,
            "weights": self.weights,
            **({"untied": True} if self.untied else {}),
            **({"attention": self.attention} if self.attention != "heads" else {}),
            "keep": {name: list(units) for name, units in self.keep.items()},
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan, of which nothing is believed. Raises PlanError naming what is wrong with it."""
        document = json_object(text, "the plan", PlanError)
        if document.get("schema") != SCHEMA:
            raise PlanError(f'the plan must be a JSON object with "schema": {SCHEMA}')
        check_keys(document, _KEYS, "the plan", PlanError)
        model, weights = (document.get(key, "") for key in ("model", "weights"))
        if not is_text(model) or not is_text(weights):
            raise PlanError(f'"model" and "weights" must be texts of at most {MOST_TEXT} characters')
        untied = document.get("untied", False)
        if not isinstance(untied, bool):
            raise PlanError('"untied" must be true or false')
        attention = document.get("attention", "heads")
        if attention not in get_args(AttentionUnit):
            raise PlanError('"attention" must be "heads" or "width"')
        return cls(_kept(document.get("keep")), model, weights, untied, attention)

    def _overview(self) -> dict[str, str]:
        kept = {name: len(units) for name, units in self.keep.items() if units}
        blocks = [name for name, units in self.keep.items() if not units]
        return {
            "cuts": f"{counted(len(kept), 'group')}, of which {counted(sum(kept.values()), 'unit')} stay",
            "widths": kept_text(kept),
            "removes": listed(blocks),
            "model": self.model,
            "weights": self.weights[:12],
        }


_KEYS = frozenset({"schema", "model", "weights", "untied", "attention", "keep"})


def _kept(keep: object) -> dict[str, tuple[int, ...]]:
    """Group -> units, as a file says. Raises PlanError where that is something else, or too much."""
    if not isinstance(keep, dict) or not all(_is_units(units) for units in keep.values()):
        raise PlanError('"keep" must map group names to lists of unit numbers')
    if not all(map(is_text, keep)):
        raise PlanError(f'"keep" has the name of a group with more than {MOST_TEXT} characters')
    if len(keep) > MOST_GROUPS or sum(map(len, keep.values())) > MOST_UNITS:
        raise PlanError(f"the plan has more than {MOST_GROUPS:,} groups or {MOST_UNITS:,} units")
    return {name: tuple(units) for name, units in keep.items()}


def _is_units(value: object) -> bool:
    return isinstance(value, list) and all(map(is_whole, value))
