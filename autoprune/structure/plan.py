"""Plans: which units of each group stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import PlanError
from autoprune.structure.groups import Structure

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """The units that stay, for every group that loses some.

    Attributes:
        keep: group name -> units that stay, ascending; a group that is not named stays whole.
        model: what the plan was made for, such as ``"torchvision:resnet18"``.
        weights: SHA-256 of the weights that it was made for, or empty.
    """

    keep: Mapping[str, tuple[int, ...]]
    model: str = field(default="", compare=False)
    weights: str = field(default="", compare=False)

    def widths(self, structure: Structure) -> dict[str, int]:
        """Width of every group after the cut."""
        return {g.name: len(self.keep.get(g.name, range(g.width))) for g in structure.groups}

    def check(self, structure: Structure) -> None:
        """Raise PlanError unless the plan fits the structure, removes something and empties nothing."""
        widths = structure.widths
        for name, units in self.keep.items():
            if name not in widths:
                raise PlanError(f"the plan names the group {name!r}, which this model does not have")
            if not units:
                raise PlanError(f"the plan empties {name!r}: keep at least one of its {widths[name]} units")
            if list(units) != sorted(set(units)) or units[0] < 0 or units[-1] >= widths[name]:
                raise PlanError(
                    f"the plan's units for {name!r} must be ascending numbers from 0 to {widths[name] - 1}"
                )
        if self.widths(structure) == widths:
            raise PlanError("the plan removes nothing: lower the width of at least one group")

    @property
    def hash(self) -> str:
        """SHA-256 of what is kept; equal plans have equal hashes."""
        text = json.dumps({name: list(self.keep[name]) for name in sorted(self.keep)})
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The plan as JSON text with its schema version."""
        keep = {name: list(units) for name, units in self.keep.items()}
        return json.dumps(
            {"schema": SCHEMA, "model": self.model, "weights": self.weights, "keep": keep},
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan. Raises PlanError naming what is wrong with it."""
        try:
            document: Any = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError(f"the plan is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise PlanError(f'the plan must be a JSON object with "schema": {SCHEMA}')
        unknown = set(document) - {"schema", "model", "weights", "keep"}
        if unknown:
            raise PlanError(f"the plan has unknown keys: {', '.join(sorted(unknown))}")
        keep = document.get("keep")
        if not isinstance(keep, dict) or not all(_is_units(units) for units in keep.values()):
            raise PlanError('"keep" must map group names to lists of unit numbers')
        labels = [document.get(key, "") for key in ("model", "weights")]
        if not all(isinstance(label, str) for label in labels):
            raise PlanError('"model" and "weights" must be texts')
        return cls({name: tuple(units) for name, units in keep.items()}, *labels)


def _is_units(value: Any) -> bool:
    return isinstance(value, list) and all(type(unit) is int for unit in value)
