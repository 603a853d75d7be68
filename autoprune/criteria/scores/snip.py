"""Connection sensitivity: Lee et al., "SNIP: Single-shot Network Pruning" (2019)."""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gradients import gradients


@register("snip")
def score(context: Context) -> dict[str, Tensor]:
    """Sum of ``|gradient * parameter|`` over all parameters that go with a unit, the gradient of all batches.

    The paper divides by the sum over the whole model, which changes no order.
    Raises CriterionError without data or loss.
    """
    return dict(gradients(context, "snip").connections)
