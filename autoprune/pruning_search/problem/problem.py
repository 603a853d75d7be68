"""Everything that a trial needs to know, made once before the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, nn

from autoprune.config.budget import Budget
from autoprune.config.settings import Config
from autoprune.cost import Costs, Meter, Predictor, Profile
from autoprune.cost.latency.prediction import cross_validated
from autoprune.criteria import Ranking
from autoprune.criteria.mixture import Mixture
from autoprune.pruning_search.problem.criterion_choice import Mixing, mixing_of
from autoprune.pruning_search.problem.pruning import Prices, Prunable, Pruning
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.pruning_search.problem.splits import Parts
from autoprune.pruning_search.problem.width_grid import AnyGrid, OfferedWidths, grids_of
from autoprune.recovery import CachedBatch, Recipe, Repair, cache_batches
from autoprune.structure import Structure
from autoprune.structure.plans import AnyPlan
from autoprune.tasks import Data, Score, Split, Task, device_of, evaluate

CLOSED_FORM = {"flops": "flops", "params": "parameters", "nonzero": "nonzero", "size": "size"}
"""Budget name -> field of :class:`Costs`, for the costs that need no measurement."""
EVALUATED = 500
"""Samples that are scored at a time."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A quality beside the first one.

    Attributes:
        task: with its metric, named as the objective is.
        split: the guiding samples as it sees them.
    """

    task: Task
    split: Split

    def value(self, model: nn.Module, batch_size: int = EVALUATED) -> float:
        """The model's quality. Raises TrialError when an output is not finite."""
        return evaluate(model, self.split, self.task, batch_size=batch_size).value


@dataclass(frozen=True)
class Baseline:
    """What the original model is worth on the guiding samples, and what it costs.

    The latency is in seconds, None when it is not measured; `others` are further qualities by name.
    `sparsified` is the quality of what sparse training made of it, None without that.
    """

    score: Score
    costs: Costs
    latency: float | None
    others: Mapping[str, float] = field(default_factory=dict)
    sparsified: float | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """One model to prune on one data set within one budget.

    Attributes:
        model: the original trained model, which teaches and is the reference; never changed.
        name: readable name of the model.
        weights: SHA-256 of its weights.
        pruning: how it is pruned, and what can be.
        data: splits and task.
        parts: validation samples that guide the search, and those that rank its finalists.
        example: input of one sample, ``[1, ...]``.
        baseline: the original model's numbers.
        calibration: a few training batches, drawn once, for BatchNorm statistics of every candidate.
        budget: what may be spent.
        config: the settings.
        meter: times candidates against the original model; None where latency is not measured.
        profile: what each group costs on this device, where that was measured before.
        latency_steps: the widths that the study offers in the place of even steps.
        others: further qualities that are objectives.
    """

    model: nn.Module
    name: str
    weights: str
    pruning: Pruning
    data: Data
    parts: Parts
    example: Tensor
    baseline: Baseline
    calibration: Sequence[tuple[Tensor, Tensor]]
    budget: Budget
    config: Config
    meter: Meter | None = None
    profile: Profile | None = None
    latency_steps: OfferedWidths = field(default_factory=dict)
    others: tuple[Judge, ...] = ()

    @property
    def structure(self) -> Prunable:
        """What can be cut."""
        return self.pruning.structure

    @property
    def base(self) -> nn.Module:
        """The model that is cut: the original, or what sparse training made of it."""
        return self.pruning.origin.model

    @property
    def costs(self) -> Prices:
        """Closed-form costs of every choice of widths."""
        return self.pruning.costs

    @property
    def rankings(self) -> Mapping[str, Ranking]:
        """Criterion name -> its ranking; the configured criterion comes first."""
        return self.pruning.rankings

    @cached_property
    def repair(self) -> Repair:
        """What is done for every candidate without training it."""
        structure = self.structure if isinstance(self.structure, Structure) else None
        inputs = [inputs for inputs, _ in self.calibration]
        return Repair(self.base, structure, inputs, self.config.compensate)

    @cached_property
    def recipe(self) -> Recipe | None:
        """How every candidate is fine-tuned; None where none is."""
        return recipe_of(self.config, self.data)

    @cached_property
    def cached_batches(self) -> Sequence[CachedBatch] | None:
        """The batches that every candidate is fine-tuned on; None where each draws its own."""
        if self.recipe is None:
            return None
        teacher = self.model if self.recipe.distill > 0 and self.recipe.distill_features == 0 else None
        return cache_batches(self.data.train, self.recipe, self.config.seed, teacher, device_of(self.model))

    @cached_property
    def limits(self) -> dict[str, float]:
        """Budget name -> the most that the model may cost, in FLOPs, parameters, bytes or seconds."""
        costs = self.baseline.costs
        known = {what: field for what, field in CLOSED_FORM.items() if hasattr(costs, field)}
        reference = {what: getattr(costs, field) for what, field in known.items()}
        if self.baseline.latency is not None:
            reference["latency"] = self.baseline.latency
        return {limit.what: limit.absolute(reference[limit.what]) for limit in self.budget.limits}

    @cached_property
    def grids(self) -> dict[str, AnyGrid]:
        """Group -> the widths that are tried."""
        return grids_of(self.structure, self.config, self.latency_steps)

    @cached_property
    def mixing(self) -> Mixing | None:
        """What trials choose of the criteria that order the units; None where there is one for all."""
        return mixing_of(self.config, self.structure, next(iter(self.rankings)))

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
        if self._predictor is None or self.baseline.latency is None:
            return None
        return self._predictor.ratio(self.narrowest) * self.baseline.latency

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
        known = cross_validated(structure, self.profile)
        return 0.0 if known is None else known.excess

    @cached_property
    def latency_scale(self) -> float:
        """What times a predicted ratio is the share of the limit on latency, doubt included."""
        assert self.baseline.latency is not None
        return self.baseline.latency * (1 + self.doubt) / self.limits["latency"]

    def counted_shares(self, widths: Mapping[str, int]) -> dict[str, float]:
        """Budget name -> the share of its limit that the widths take, of limits on closed-form costs."""
        costs = self.costs.costs(widths)
        return {
            what: getattr(costs, CLOSED_FORM[what]) / limit
            for what, limit in self.limits.items()
            if what in CLOSED_FORM
        }

    def shares(self, widths: Mapping[str, int]) -> list[float]:
        """The share of every limit that the widths take, by closed forms and by prediction."""
        shares = list(self.counted_shares(widths).values())
        if self.predictor is not None:
            shares.append(self.predictor.ratio(widths) * self.latency_scale)
        return shares

    @cached_property
    def original_share(self) -> float:
        """The share of the tightest limit that the original model takes, or is predicted to; at most 1.

        A budget that the original model meets says nothing of how much to cut: plans are then proposed for
        shares of what it costs.
        """
        return min(1.0, max(self.shares(self.structure.widths), default=1.0))

    @cached_property
    def blocks(self) -> frozenset[str]:
        """The groups that are whole blocks: they are kept or taken out, and never scaled."""
        return self.structure.blocks

    @property
    def narrowest(self) -> dict[str, int]:
        """The least width of every group."""
        return {name: grid.low for name, grid in self.grids.items()}

    @property
    def widest(self) -> dict[str, int]:
        """The most units that every group may keep: all, unless a bound says less."""
        return {name: grid.high for name, grid in self.grids.items()}

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives: the task's metric, what trials lower, and what else the budget limits."""
        named = {"params": "parameters", "size": "size", "latency": "latency_ms"}
        extra = [named[limit.what] for limit in self.budget.limits if limit.what in named]
        others = (judge.task.metric for judge in self.others)
        return (self.data.task.metric, self.pruning.cost, *extra, *others)

    @property
    def qualities(self) -> dict[str, bool]:
        """Name of every objective that is no cost -> whether higher is better."""
        tasks = (self.data.task, *(judge.task for judge in self.others))
        return {task.metric: task.higher_is_better for task in tasks}

    def plan(self, widths: Mapping[str, int], mixture: Mixture | None = None) -> AnyPlan:
        """The plan that keeps the highest-ranked units, by these criteria or the configured one."""
        return self.pruning.plan(widths, mixture)
