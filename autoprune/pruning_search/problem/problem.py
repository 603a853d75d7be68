"""Everything that a trial needs to know, made once before the search."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from autoprune.config.budget import Budget
from autoprune.config.settings import Config
from autoprune.cost import Meter
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.criterion_choice import CriterionChoice, mixing_of
from autoprune.pruning_search.problem.pruning import Prunable, Pruning
from autoprune.pruning_search.problem.recovery_cache import RecoveryCache, SharedRecovery
from autoprune.pruning_search.problem.subject.splits import ValidationSplits
from autoprune.pruning_search.problem.subject.subject import SearchSubject
from autoprune.tasks import Data


@dataclass(frozen=True, eq=False)
class Problem:
    """One model to prune on one data set within one budget.

    Attributes:
        config: the settings.
        subject: the original model and its data.
        pruning: how it is pruned, and what can be.
        budget_model: what widths cost of the budget.
        meter: times candidates against the original model; None where latency is not measured.
        cache: of what candidates are recovered with.
    """

    config: Config
    subject: SearchSubject
    pruning: Pruning
    budget_model: BudgetModel
    meter: Meter | None = None
    cache: RecoveryCache = field(default_factory=RecoveryCache)

    @property
    def model(self) -> nn.Module:
        """The original trained model."""
        return self.subject.model

    @property
    def data(self) -> Data:
        """Splits and task."""
        return self.subject.data

    @property
    def splits(self) -> ValidationSplits:
        """Validation samples that select candidates, and those held out to rank finalists."""
        return self.subject.splits

    @property
    def structure(self) -> Prunable:
        """What can be cut."""
        return self.pruning.structure

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return self.budget_model.budget

    @property
    def recovery(self) -> SharedRecovery:
        """How every candidate is recovered."""
        return SharedRecovery(self.config, self.subject, self.pruning, self.cache)

    @cached_property
    def mixing(self) -> CriterionChoice | None:
        """What trials choose of the criteria that order the units; None where there is one for all."""
        return mixing_of(self.config, self.structure, next(iter(self.pruning.rankings)))

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives: the task's metric, what trials lower, and what else the budget limits."""
        named = {"params": "parameters", "size": "size", "latency": "latency_ms"}
        extra = [named[limit.what] for limit in self.budget.limits if limit.what in named]
        others = (quality.task.metric for quality in self.subject.others)
        return (self.data.task.metric, self.pruning.cost, *extra, *others)
