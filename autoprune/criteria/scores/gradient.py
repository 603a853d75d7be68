"""Gradient magnitude: units whose parameters the loss hardly depends on go first."""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gradients import gradients


@register("gradient")
def score(context: Context) -> dict[str, Tensor]:
    """Mean over batches of the sum of ``|gradient|`` over all parameters that go with a unit.

    Raises CriterionError without data or loss.
    """
    return dict(gradients(context, "gradient").magnitudes)
