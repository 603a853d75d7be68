"""Plans: which units of each group stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from autoprune.errors import PlanError
from autoprune.structure.groups import AttentionUnit, Structure

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """The units that stay, for every group that loses some.

    Attributes:
        keep: group name -> units that stay, ascending; a group that is not named stays whole, and a
            block with no units goes whole.
        model: what the plan was made for, such as ``"torchvision:resnet18"``.
        weights: SHA-256 of the weights that it was made for, or empty.
        untied: whether every use of a shared weight has its own copy, which the plan cuts by itself.
        attention: what a unit of an attention is, see :func:`autoprune.discover`.
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

    def settled(self, structure: Structure) -> Plan:
        """The shortest plan that gives the same model.

        Groups that stay whole are not named, nor are those that lie within a block which goes whole.
        """
        full, widths = structure.widths, structure.settled(self.widths(structure))
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
        """Read a plan. Raises PlanError naming what is wrong with it."""
        try:
            document: Any = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError(f"the plan is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise PlanError(f'the plan must be a JSON object with "schema": {SCHEMA}')
        unknown = set(document) - {"schema", "model", "weights", "untied", "attention", "keep"}
        if unknown:
            raise PlanError(f"the plan has unknown keys: {', '.join(sorted(unknown))}")
        keep = document.get("keep")
        if not isinstance(keep, dict) or not all(_is_units(units) for units in keep.values()):
            raise PlanError('"keep" must map group names to lists of unit numbers')
        model, weights = (document.get(key, "") for key in ("model", "weights"))
        if not isinstance(model, str) or not isinstance(weights, str):
            raise PlanError('"model" and "weights" must be texts')
        untied = document.get("untied", False)
        if not isinstance(untied, bool):
            raise PlanError('"untied" must be true or false')
        attention = document.get("attention", "heads")
        if attention not in get_args(AttentionUnit):
            raise PlanError('"attention" must be "heads" or "width"')
        return cls({name: tuple(units) for name, units in keep.items()}, model, weights, untied, attention)


def _is_units(value: Any) -> bool:
    return isinstance(value, list) and all(type(unit) is int for unit in value)
