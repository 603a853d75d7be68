"""Pruning by setting weights to zero: tensors keep their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.cost import MaskCostModel
from autoprune.criteria import MaskScores, Ranking, score_masks
from autoprune.criteria.mixture import Mixture
from autoprune.errors import PlanError
from autoprune.pruning_search.problem.pruning import Origin
from autoprune.structure.masks import (
    MaskPlan,
    MaskStructure,
    discover_masks,
    held_zeros,
    restrict_masks,
    zeroed,
)
from autoprune.structure.plans import AnyPlan, Widths


@dataclass(frozen=True, eq=False)
class MaskPruning:
    """See :class:`autoprune.pruning_search.problem.pruning.Pruning`; made by :func:`build_mask_pruning`."""

    cost: ClassVar[str] = "nonzero"

    origin: Origin
    structure: MaskStructure
    costs: MaskCostModel
    scores: MaskScores
    rankings: Mapping[str, Ranking]

    def plan(self, widths: Mapping[str, int], mixture: Mixture | None = None) -> MaskPlan:
        """The plan that keeps the highest-ranked units of every group, by one criterion."""
        assert mixture is None
        return self.scores.plan(widths, model=self.origin.name, weights=self.origin.weights)

    def widths(self, plan: AnyPlan) -> Widths:
        """Units that a plan keeps. Raises PlanError when it does not fit the model or masks nothing."""
        own = _own(plan)
        own.check(self.structure)
        return own.widths(self.structure)

    def cut(self, plan: AnyPlan) -> nn.Module:
        """A new plain model with the zeros in place. Raises PlanError when the masks are not the plan's."""
        own = _own(plan)
        masks = self.scores.masks(own.widths(self.structure))
        own.check_masks(masks, self.structure)
        return zeroed(self.origin.model, masks)

    def training(self, model: nn.Module, plan: AnyPlan) -> AbstractContextManager[None]:
        """Keeps the zeros zero."""
        return held_zeros(model, tuple(self.structure.group(name).weight.name for name in _own(plan).layers))

    def spare_blocks(self) -> list[str]:
        """None: masks take no blocks out."""
        return []


def build_mask_pruning(origin: Origin) -> MaskPruning:
    """Find and rank what can be masked in a model.

    Raises:
        ModelError: when it cannot be traced, or none of its weights fits the pattern.
        UserError: for settings that do not fit.
    """
    structure = discover_masks_for(origin.config, origin.model, (origin.example,))
    every = {
        str(name): score_masks(
            str(name),
            origin.model,
            structure,
            batches=origin.batches(),
            loss=origin.loss,
            seed=origin.config.seed,
        )
        for name in origin.criteria()
    }
    costs = MaskCostModel.of(structure, origin.model, (origin.example,))
    rankings = {name: scores.ranking for name, scores in every.items()}
    return MaskPruning(origin, structure, costs, every[origin.config.criterion], rankings)


def discover_masks_for(config: Config, model: nn.Module, inputs: tuple[Tensor, ...]) -> MaskStructure:
    """What the settings allow to be masked in a model.

    Raises:
        UserError: for a pattern that matches nothing.
        ModelError: when no weight is left.
    """
    discovered = discover_masks(model, inputs, config.granularity)
    structure = restrict_masks(
        discovered, skip=config.skip, only=config.only, keep_ends=config.first_last == "keep"
    )
    structure.require_groups()
    return structure


def _own(plan: AnyPlan) -> MaskPlan:
    if not isinstance(plan, MaskPlan):
        raise PlanError("the plan removes units: leave --granularity out")
    return plan
