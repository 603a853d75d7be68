"""What widths cost, how sure that is, whether they fit the budget, and how narrow they can get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from autoprune.config.budget import Budget
from autoprune.cost import Costs, Predictor, Profile
from autoprune.cost.latency.prediction import cross_validated
from autoprune.pruning_search.problem.pruning import Pruning
from autoprune.pruning_search.problem.width_grid import AnyGrid, OfferedWidths, grids_of
from autoprune.structure import Structure
from autoprune.structure.plans import Widths

CLOSED_FORM = {"flops": "flops", "params": "parameters", "nonzero": "nonzero", "size": "size"}
"""Budget name -> field of :class:`Costs`, for the costs that need no measurement."""


@dataclass(frozen=True, eq=False)
class BudgetModel:
    """What widths cost of a budget.

    Attributes:
        budget: what may be spent.
        pruning: has closed-form costs of every choice of widths.
        original_costs: closed-form costs of the original model.
        original_latency: its seconds; None where latency is not measured.
        profile: what each group costs on this device, where that was measured before.
        latency_steps: group -> the widths that the study offers in the place of even steps.
    """

    budget: Budget
    pruning: Pruning
    original_costs: Costs
    original_latency: float | None = None
    profile: Profile | None = None
    latency_steps: OfferedWidths = field(default_factory=dict)

    @cached_property
    def limits(self) -> dict[str, float]:
        """Budget name -> the most that the model may cost, in FLOPs, parameters, bytes or seconds."""
        costs = self.original_costs
        reference = {
            what: getattr(costs, field) for what, field in CLOSED_FORM.items() if hasattr(costs, field)
        }
        if self.original_latency is not None:
            reference["latency"] = self.original_latency
        return {limit.what: limit.absolute(reference[limit.what]) for limit in self.budget.limits}

    @cached_property
    def grids(self) -> dict[str, AnyGrid]:
        """Group -> the widths that are tried."""
        return grids_of(self.pruning.structure, self.pruning.origin.config, self.latency_steps)

    @property
    def narrowest(self) -> Widths:
        """The least width of every group."""
        return {name: grid.low for name, grid in self.grids.items()}

    @property
    def widest(self) -> Widths:
        """The most units that every group may keep: all, unless a bound says less."""
        return {name: grid.high for name, grid in self.grids.items()}

    @cached_property
    def blocks(self) -> frozenset[str]:
        """The groups that are whole blocks: they are kept or taken out, and never scaled."""
        return self.pruning.structure.blocks

    @cached_property
    def predictor(self) -> Predictor | None:
        """Predicts latencies, to propose plans that will meet a limit on them.

        None where there is no such limit or no profile of the device, or by which no plan would meet the
        limit: what is measured decides, and that may be less.
        """
        return None if self.least_latency is None or self.is_out_of_reach else self._predictor

    @cached_property
    def least_latency(self) -> float | None:
        """Seconds that the narrowest plan is predicted to take; None where none are predicted."""
        if self._predictor is None or self.original_latency is None:
            return None
        return self._predictor.ratio(self.narrowest) * self.original_latency

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the limit on latency is below what even the narrowest plan is predicted to take."""
        return self.least_latency is not None and self.least_latency > self.limits["latency"]

    @cached_property
    def _predictor(self) -> Predictor | None:
        structure = self.pruning.structure
        if self.profile is None or "latency" not in self.limits or not isinstance(structure, Structure):
            return None
        return Predictor.of(structure, self.profile)

    @cached_property
    def doubt(self) -> float:
        """By how much, relative to it, a predicted latency may well be too low.

        An allocator looks for plans that are predicted to be fast, and finds those that are predicted
        wrongly, so that the median error of random plans would be too little.
        """
        structure = self.pruning.structure
        if self.profile is None or not isinstance(structure, Structure):
            return 0.0
        error = cross_validated(structure, self.profile)
        return 0.0 if error is None else error.excess

    @cached_property
    def latency_scale(self) -> float:
        """What times a predicted ratio is the share of the limit on latency, doubt included."""
        assert self.original_latency is not None
        return self.original_latency * (1 + self.doubt) / self.limits["latency"]

    def closed_form_shares(self, widths: Mapping[str, int]) -> dict[str, float]:
        """Budget name -> the share of its limit that the widths take, of limits on closed-form costs."""
        costs = self.pruning.costs.costs(widths)
        return {
            what: getattr(costs, CLOSED_FORM[what]) / limit
            for what, limit in self.limits.items()
            if what in CLOSED_FORM
        }

    def excess(self, widths: Mapping[str, int]) -> dict[str, float]:
        """Budget name -> how far the widths are over it, relative to the limit; 0 or less is within."""
        return {what: share - 1 for what, share in self.closed_form_shares(widths).items()}

    def shares(self, widths: Mapping[str, int]) -> list[float]:
        """The share of every limit that the widths take, by closed forms and by prediction."""
        shares = list(self.closed_form_shares(widths).values())
        if self.predictor is not None:
            shares.append(self.predictor.ratio(widths) * self.latency_scale)
        return shares

    @cached_property
    def original_share(self) -> float:
        """The share of the tightest limit that the original model takes, or is predicted to; at most 1.

        A budget that the original model meets says nothing of how much to cut: plans are then proposed for
        shares of what it costs.
        """
        return min(1.0, max(self.shares(self.pruning.structure.widths), default=1.0))

    def used(self, widths: Mapping[str, int]) -> float:
        """The share of the tightest limit that the widths take; without one, of what trials lower.

        Where the original model meets all limits, the share of what it takes.
        """
        shares = self.shares(widths)
        if not shares:
            lowered, costs = self.pruning.cost, self.pruning.costs.costs(widths)
            return float(getattr(costs, lowered) / getattr(self.original_costs, lowered))
        return max(shares) / self.original_share

    def meets(self, widths: Mapping[str, int], level: float = 1.0) -> bool:
        """Whether the widths are within that share of every limit, by closed forms and by prediction."""
        return self.used(widths) <= level
