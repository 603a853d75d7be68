"""First-order Taylor expansion of the loss.

Removing a unit sets its parameters to zero, which changes the loss by about the sum of gradient times
parameter. The square of that sum, averaged over batches, is the unit's importance: Molchanov et al.,
"Importance Estimation for Neural Network Pruning" (2019), who take the weights of a filter, or one gate
behind its BatchNorm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.options import check_choice
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gradients import gradients

At = Literal["weights", "gates"]


@register("taylor")
@dataclass(frozen=True)
class Taylor:
    """Mean over batches of ``(sum of gradient * parameter) ** 2``.

    The model is evaluated in eval mode; one batch is held at a time.

    Attributes:
        at: ``weights``: the sum runs over the parameters of a unit's "out" and "pass" slices, which are gone
            when nothing produces the unit. ``gates``: over the weights that read it, "in", which makes it the
            derivative by a gate on the unit; where none does, as with ``weights``.
    """

    at: At = "weights"

    def __post_init__(self) -> None:
        check_choice("at", self.at, get_args(At))

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError without data or loss."""
        found = gradients(context, "taylor")
        changes = found.changes if self.at == "weights" else found.gates
        return {name: rows.square().mean(dim=0) for name, rows in changes.items()}
