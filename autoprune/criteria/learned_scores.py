"""A learned criterion as one among others: units ranked by what it knows, here and in other checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.curve import Curve
from autoprune.criteria.learned import LearnedCriterion
from autoprune.criteria.mixture import Mixture
from autoprune.criteria.scoring import telling_scores

ORDER = 1e-6
"""How much a unit's place counts beside the loss, so that units stay apart where the curve is straight."""


@dataclass(frozen=True, eq=False)
class LearnedScores:
    """Scores by a learned criterion: the loss that the removal of the next unit adds, by the learned curves.

    Within a group, the order is that of the criteria that the search chose, computed again on the model
    at hand. What the unit at a place of that order is worth is how steep the group's curve is there.

    Attributes:
        learned: what a search found out.
        bases: name -> the criteria that it is made of.
        where: its file, for messages.
    """

    relative: ClassVar[bool] = False

    learned: LearnedCriterion
    bases: Mapping[str, Criterion]
    where: str

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit.

        Raises CriterionError for groups that are not those of the criterion, or for scores of one that it is
        made of that say nothing.
        """
        groups = context.structure.groups
        # Blocks are no units to rank: what is known of them is left out of the comparison.
        blocks = {name: group.width for name, group in self.learned.groups.items() if not group.weights}
        self.learned.check({g.name: g.width for g in groups} | blocks, self.where)
        found = {name: telling_scores(name, base, context) for name, base in self.bases.items()}
        mixture = Mixture({group.name: self.learned.groups[group.name].weights for group in groups})
        curves = self._curves()
        scores = {}
        for group in groups:
            each = {name: values[group.name] for name, values in found.items()}
            scores[group.name] = _worth(curves[group.name], mixture.places(group.name, each))
        return scores

    def _curves(self) -> dict[str, Curve]:
        offered = {
            name: list(range(self.learned.narrowest(name), group.width + 1))
            for name, group in self.learned.groups.items()
        }
        return self.learned.weighted(self.learned.curves(offered))


def _worth(curve: Curve, places: Tensor) -> Tensor:
    """What each unit is worth, ``[width]``; those that no measured cut removed as much as the last one."""
    width = len(places)
    drops = curve.drops
    # drops[-1] is the loss of the first unit that goes; the units of the narrowest measured width go last.
    last = drops[0] if len(drops) else 0.0
    by_place = np.concatenate([drops[::-1], np.full(width - len(drops), last)])
    order = torch.argsort(places, stable=True)
    worth = torch.empty(width, dtype=torch.float64)
    worth[order] = torch.from_numpy(by_place.copy())
    steepest = max(float(np.max(by_place)), float(np.finfo(np.float32).tiny))
    return worth + ORDER * steepest * places
