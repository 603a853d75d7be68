"""Everything that a trial needs to know, made once before the search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from autoprune.budget import Budget
from autoprune.config import Config
from autoprune.cost import CostModel, Costs
from autoprune.criteria import Ranking
from autoprune.structure import Plan, Structure
from autoprune.tasks import Data, Score

CLOSED_FORM = {"flops": "flops", "params": "parameters", "size": "size"}
"""Budget name -> field of :class:`Costs`, for the costs that need no measurement."""
MOST_STEPS = 15
"""Steps between the narrowest and the full width of a group."""


@dataclass(frozen=True)
class Baseline:
    """What the uncut model is worth and what it costs; latency in seconds, None when not measured."""

    score: Score
    costs: Costs
    latency: float | None


@dataclass(frozen=True, eq=False)
class Problem:
    """One model to prune on one data set within one budget.

    Attributes:
        model: the uncut trained model; never changed.
        name: readable name of the model.
        weights: SHA-256 of its weights.
        structure: what can be cut.
        costs: closed-form costs of every choice of widths.
        data: splits and task.
        example: input of one sample, ``[1, ...]``.
        baseline: the uncut model's numbers.
        rankings: criterion name -> its ranking; the configured criterion comes first.
        budget: what may be spent.
        config: the settings.
    """

    model: nn.Module
    name: str
    weights: str
    structure: Structure
    costs: CostModel
    data: Data
    example: Tensor
    baseline: Baseline
    rankings: Mapping[str, Ranking]
    budget: Budget
    config: Config

    @cached_property
    def limits(self) -> dict[str, float]:
        """Budget name -> the most that the model may cost, in FLOPs, parameters, bytes or seconds."""
        reference = {what: getattr(self.baseline.costs, field) for what, field in CLOSED_FORM.items()}
        if self.baseline.latency is not None:
            reference["latency"] = self.baseline.latency
        return {limit.what: limit.absolute(reference[limit.what]) for limit in self.budget.limits}

    @cached_property
    def steps(self) -> dict[str, int]:
        """Distance of the widths that are tried in a group: a power of two, for at most 16 of them.

        Wide layers run fastest at multiples of 4, 8 or 16 channels, and a sampler learns little from
        the difference between 63 and 64.
        """
        steps = {}
        for name, width in self.structure.widths.items():
            span = width - max(1, round(self.config.min_density * width))
            steps[name] = 1 << max(0, math.ceil(math.log2(max(span, 1) / MOST_STEPS)))
        return steps

    @cached_property
    def min_widths(self) -> dict[str, int]:
        """Fewest units that a group may keep, a whole number of steps below its full width."""
        least = {}
        for name, width in self.structure.widths.items():
            span = width - max(1, round(self.config.min_density * width))
            least[name] = width - span // self.steps[name] * self.steps[name]
        return least

    @property
    def most_flops(self) -> float:
        """FLOPs that the budget allows, at most those of the uncut model."""
        full = float(self.baseline.costs.flops)
        return min(self.limits.get("flops", full), full)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives: the task's metric, FLOPs, and what else the budget limits."""
        named = {"params": "parameters", "size": "size", "latency": "latency_ms"}
        extra = [named[limit.what] for limit in self.budget.limits if limit.what in named]
        return (self.data.task.metric, "flops", *extra)

    def plan(self, widths: Mapping[str, int]) -> Plan:
        """The plan that keeps the highest-ranked units of every group."""
        ranking = self.rankings[self.config.criterion]
        full = self.structure.widths
        keep = {name: ranking.keep(name, width) for name, width in widths.items() if width < full[name]}
        return Plan(keep, model=self.name, weights=self.weights)
