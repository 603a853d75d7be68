"""Robustness: how the loss on noisy inputs grows without a unit; what is kept keeps the model robust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.options import check_choice
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gates import gates
from autoprune.errors import CriterionError, DataError
from autoprune.tasks.corruption import Corruption, Noise


@register("robustness")
@dataclass(frozen=True)
class Robustness:
    """Estimated increase of the loss on noisy inputs when a unit is removed.

    The expansion of the loss by the unit's gate to the second order, with the empirical Fisher information
    for the second derivative (Theis et al., 2018): ``mean(-g) + mean(g ** 2) / 2`` over the samples. It costs
    as much as one pass of training over the data.

    Attributes:
        noise: ``gaussian`` or ``salt-and-pepper``.
        strength: standard deviation in the units of the inputs, or the share of positions.
    """

    relative: ClassVar[bool] = False

    noise: Noise = "gaussian"
    strength: float = 0.1

    def __post_init__(self) -> None:
        check_choice("noise", self.noise, get_args(Noise))
        try:
            self._corruption()
        except DataError as error:
            raise CriterionError(str(error)) from error

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError without data or loss, or for inputs without noise."""
        corruption, generator = self._corruption(), torch.Generator().manual_seed(context.seed)

        def noisy(inputs: Tensor) -> Tensor:
            try:
                return corruption.applied(inputs, generator)
            except DataError as error:
                raise CriterionError(f"criterion robustness: {error}") from error

        derivatives = gates(context, "robustness", noisy)
        return {name: derivatives.squares[name] / 2 - mean for name, mean in derivatives.mean.items()}

    def _corruption(self) -> Corruption:
        return Corruption(self.noise, self.strength)
