"""Any criterion per unit of cost saved: of two units that matter as much, the cheaper one stays.

Dividing a gain by what it costs is the greedy rule for a knapsack; for pruning by measured latency it is
used by HALP (Shen et al., 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.config.commands import command_line, flag
from autoprune.config.references import CriterionName, Price
from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.ranking import relative_to_mean
from autoprune.errors import CriterionError


@dataclass(frozen=True)
class CostAware:
    """``score / cost ** exponent``, with the cost of one unit of the group relative to the average unit's.

    The units of a group cost the same, so that their order stays; what changes is how groups compare.
    Scores that compare only within a group are divided by its mean size first. A score below 0 says that
    the loss falls without the unit: it is multiplied by the cost, so that there, too, the cheaper one of two
    equal units stays.

    Attributes:
        base: judges importance.
        cost: ``flops``, ``params``, ``size`` or ``latency``: which of the context's prices counts.
        exponent: how much; 0 leaves it out.
    """

    relative: ClassVar[bool] = False

    base: Criterion
    cost: str
    exponent: float = 1.0

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError where the price is not known, or not above 0."""
        prices = self._prices(context)
        average = sum(prices[g.name] * g.width for g in context.structure.groups) / sum(
            g.width for g in context.structure.groups
        )
        scores = self.base.scores(context)
        if getattr(self.base, "relative", True):
            scores = {name: relative_to_mean(values) for name, values in scores.items()}
        return {
            name: _per_cost(values, (prices[name] / average) ** self.exponent)
            for name, values in scores.items()
        }

    def _prices(self, context: Context) -> Mapping[str, float]:
        if self.cost not in context.prices:
            known = " or ".join(context.prices) or "nothing: no prices were given"
            raise CriterionError(f"what units cost in {self.cost} is not known: divide by {known}")
        prices = context.prices[self.cost]()
        free = next((g.name for g in context.structure.groups if not prices.get(g.name, 0) > 0), None)
        if free is not None and self.exponent != 0:
            skip = command_line(*flag("--skip", free))
            raise CriterionError(
                f"a unit of {free!r} saves no {self.cost}: keep it whole with {skip}, "
                "or divide by flops or params"
            )
        return prices


def _per_cost(scores: Tensor, cost: float) -> Tensor:
    return torch.where(scores < 0, scores * cost, scores / cost)


def exponent_of(price: Price, criterion: CriterionName) -> float:
    """The exponent of a price. Raises CriterionError for one that is no number of at least 0."""
    try:
        exponent = float(price.exponent or 1)
    except ValueError:
        exponent = -1.0
    if not 0 <= exponent < float("inf"):
        raise CriterionError(
            f"criterion {str(criterion)!r}: {price.exponent} is no exponent, write {criterion.base}/flops^0.5"
        )
    return exponent
