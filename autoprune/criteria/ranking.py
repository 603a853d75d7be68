"""From scores to the units that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autoprune.errors import PlanError


def ranking(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Group name -> units (int64 ``[width]``), least important first; of equals the lower index first."""
    return {name: torch.argsort(values, stable=True) for name, values in scores.items()}


def relative_to_mean(scores: Tensor) -> Tensor:
    """Scores of one group over the mean of their sizes, so that groups of different scale compare."""
    mean = scores.abs().mean()
    return scores / mean if mean > 0 else scores


@dataclass(frozen=True, eq=False)
class Ranking:
    """The scores of one criterion on one base model, from which every candidate reads what it keeps.

    Attributes:
        criterion: name of the criterion.
        scores: group name -> floating-point ``[width]``, larger = more important.
        relative: whether scores of different groups compare only after division by their group's
            mean size.
    """

    criterion: str
    scores: Mapping[str, Tensor]
    relative: bool = True

    @cached_property
    def _order(self) -> dict[str, list[int]]:
        return {name: units.tolist() for name, units in ranking(self.scores).items()}

    def keep(self, group: str, width: int) -> tuple[int, ...]:
        """The ``width`` most important units of a group, in ascending order.

        Raises:
            KeyError: when there is no such group.
            PlanError: when ``width`` is below 1 or above the number of units.
        """
        order = self._order[group]
        if not 1 <= width <= len(order):
            raise PlanError(f"group {group!r} has {len(order)} units: keep 1 to {len(order)}, not {width}")
        return tuple(sorted(order[-width:]))
