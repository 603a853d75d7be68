"""Pruning by removing units: tensors get smaller."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.cost import CostModel
from autoprune.cost.unit_prices import Prices, unit_prices
from autoprune.criteria import Context, Ranking, block_importance, named_criterion, rankings
from autoprune.criteria.mixture import SPARSIFIED, Mixture
from autoprune.criteria.selection import plan_of
from autoprune.errors import ModelError, PlanError
from autoprune.pruning_search.problem.latency import predictor_for
from autoprune.pruning_search.problem.pruning import Origin
from autoprune.structure import Plan, Structure, apply, discover, restrict
from autoprune.structure.plans import AnyPlan, Widths


@dataclass(frozen=True, eq=False)
class UnitPruning:
    """See :class:`autoprune.pruning_search.problem.pruning.Pruning`; made by :func:`build_unit_pruning`."""

    cost: ClassVar[str] = "flops"

    origin: Origin
    structure: Structure
    costs: CostModel
    rankings: Mapping[str, Ranking]

    def plan(self, widths: Mapping[str, int], mixture: Mixture | None = None) -> Plan:
        """The plan that keeps the highest-ranked units of every group and the blocks of width 1."""
        ranking = next(iter(self.rankings.values())) if mixture is None else mixture.ranking(self.rankings)
        return plan_of(ranking, widths, self.structure, model=self.origin.name, weights=self.origin.weights)

    def widths(self, plan: AnyPlan) -> Widths:
        """Units that a plan keeps. Raises PlanError when it does not fit the model or removes nothing."""
        own = _own(plan)
        own.check(self.structure)
        return own.widths(self.structure)

    def cut(self, plan: AnyPlan) -> nn.Module:
        """A new model with smaller tensors."""
        return apply(self.origin.model, _own(plan), self.structure)

    def training(self, model: nn.Module, plan: AnyPlan) -> AbstractContextManager[None]:
        """Nothing: what is gone stays away."""
        return nullcontext()

    def spare_blocks(self) -> list[str]:
        """The residual blocks, by what the loss loses without them."""
        importance = block_importance(_context(self.origin, self.structure))
        return sorted(importance, key=lambda name: importance[name])


def build_unit_pruning(origin: Origin) -> UnitPruning:
    """Discover and rank the units of a model.

    Raises:
        ModelError: when it cannot be traced or nothing can be removed.
        UserError: for settings that do not fit.
    """
    structure = discover_for(origin.config, origin.model, (origin.example,))
    if not structure.groups:
        raise ModelError(f"nothing in {origin.name} can be cut: {why_whole(structure)}")
    costs = CostModel.of(structure, origin.model)
    prices = unit_prices(costs, partial(predictor_for, origin, structure))
    ranked = rankings(
        {str(name): named_criterion(name, origin.config.permit) for name in origin.criteria()},
        _context(origin, structure, prices),
    )
    if origin.sparse is not None and origin.sparse_ranks:
        sparse = origin.sparse
        ranked = {SPARSIFIED: Ranking(SPARSIFIED, sparse.scores, relative=sparse.relative), **ranked}
    return UnitPruning(origin, structure, costs, ranked)


def discover_for(config: Config, model: nn.Module, inputs: tuple[Tensor, ...]) -> Structure:
    """What the settings allow to be cut in a model. Raises UserError for a pattern that matches nothing."""
    structure = discover(model, inputs, attention=config.attention, depth=config.depth, shared=config.shared)
    return restrict(structure, skip=config.skip, only=config.only, keep_ends=config.first_last == "keep")


def _context(origin: Origin, structure: Structure, prices: Mapping[str, Prices] | None = None) -> Context:
    seed = origin.config.seed
    return Context(origin.model, structure, origin.batches(), origin.loss, seed, prices or {})


def _own(plan: AnyPlan) -> Plan:
    if not isinstance(plan, Plan):
        raise PlanError(f"the plan masks weights: give --granularity {plan.granularity}")
    return plan


def why_whole(structure: Structure) -> str:
    """Why no layer of a structure can be cut."""
    reasons = list(dict.fromkeys(structure.frozen.values()))
    return "; ".join(reasons[:2]) if reasons else "it has no convolution or linear layer"
