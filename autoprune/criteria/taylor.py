"""First-order Taylor expansion of the loss.

Removing a unit sets its parameters to zero, which changes the loss by about the sum of gradient times
parameter. The square of that sum, averaged over batches, is the unit's importance: Molchanov et al.,
"Importance Estimation for Neural Network Pruning" (2019).
"""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.gradients import gradients
from autoprune.criteria.registry import register


@register("taylor")
class Taylor:
    """Mean over batches of ``(sum of gradient * parameter) ** 2``.

    The sum runs over the parameters of a unit's "out" and "pass" slices: those that are gone when
    nothing produces the unit. The model is evaluated in eval mode; one batch is held at a time.
    """

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError without data or loss."""
        changes = gradients(context, "taylor").changes
        return {name: rows.square().mean(dim=0) for name, rows in changes.items()}
