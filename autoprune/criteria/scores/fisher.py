"""Empirical Fisher information: the curvature of the loss along a unit's removal.

Theis et al., "Faster gaze prediction with dense networks and Fisher pruning" (2018), for single channels; Liu
et al., "Group Fisher Pruning for Practical Network Compression" (2021), for coupled ones.
"""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gates import gates


@register("fisher")
class Fisher:
    """Half the mean over samples of the squared derivative of the loss by the unit's gate.

    It estimates the increase of the loss without the unit where the gradient vanishes and the loss is a log
    likelihood, and compares across groups as it is.
    """

    relative = False

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError without data or loss, or where units are not seen."""
        squares = context.once("gates", lambda: gates(context, "fisher")).squares
        return {name: value / 2 for name, value in squares.items()}
