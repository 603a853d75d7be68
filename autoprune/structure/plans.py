"""Plans of either kind: units that are removed, or weights that are set to zero."""

from __future__ import annotations

from autoprune.structure.masks import MaskPlan, is_mask_plan
from autoprune.structure.plan import Plan

AnyPlan = Plan | MaskPlan
Widths = dict[str, int]
"""Group -> how many of its units stay."""


def read_plan(text: str) -> AnyPlan:
    """Read a plan from JSON. Raises PlanError naming what is wrong with it."""
    return MaskPlan.from_json(text) if is_mask_plan(text) else Plan.from_json(text)
