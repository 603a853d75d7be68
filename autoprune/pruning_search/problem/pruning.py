"""What a search varies, whichever way a model is pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from autoprune.config.references import CriterionName, parse_criterion
from autoprune.config.settings import Config
from autoprune.cost import Costs
from autoprune.criteria import Ranking
from autoprune.criteria.base import Batches, Loss
from autoprune.criteria.mixture import Mixture
from autoprune.recovery.sparse_training import Sparsified
from autoprune.structure.plans import AnyPlan, Widths

ONE_SHOT = ("l2", "taylor")
"""Criteria whose global rankings are tried before any sampling, beside the configured one."""


class PrunableGroup(Protocol):
    """Units that compete with each other; a trial says how many of them stay."""

    @property
    def name(self) -> str:
        """Unique in the model."""

    @property
    def kind(self) -> str:
        """What a unit is."""

    @property
    def width(self) -> int:
        """Units of the original model."""

    @property
    def least(self) -> int:
        """Fewest units that may stay."""


class Prunable(Protocol):
    """The groups of one model."""

    @property
    def groups(self) -> Sequence[PrunableGroup]:
        """In the order of the forward pass."""

    @property
    def frozen(self) -> Mapping[str, str]:
        """Layer -> why it stays as it is."""

    @property
    def widths(self) -> Widths:
        """Width (units) of every group in the original model."""

    @property
    def blocks(self) -> frozenset[str]:
        """Groups that are kept or taken out, and never scaled."""

    def canonical(self, widths: Mapping[str, int]) -> Widths:
        """The widths that stand for all those which give the same model."""


class ClosedFormCosts(Protocol):
    """Closed-form costs."""

    def costs(self, widths: Mapping[str, int]) -> Costs:
        """Costs when so many units of every group stay."""

    def original(self, model: nn.Module) -> Costs:
        """Costs of the original model."""


class Pruning(Protocol):
    """One way to prune one model: by removing units, or by masking weights."""

    @property
    def origin(self) -> Origin:
        """What it started from."""

    @property
    def structure(self) -> Prunable:
        """What can be pruned."""

    @property
    def costs(self) -> ClosedFormCosts:
        """What it costs."""

    @property
    def rankings(self) -> Mapping[str, Ranking]:
        """Criterion name -> its ranking; the configured criterion comes first."""

    @property
    def cost(self) -> str:
        """Field of its costs that every trial is to lower."""

    def plan(self, widths: Mapping[str, int], mixture: Mixture | None = None) -> AnyPlan:
        """The plan that keeps the highest-ranked units, by these criteria or the configured one."""

    def widths(self, plan: AnyPlan) -> Widths:
        """Units that a plan keeps. Raises PlanError when it does not fit the model or removes nothing."""

    def cut(self, plan: AnyPlan) -> nn.Module:
        """A new model, pruned and not yet recovered."""

    def training(self, model: nn.Module, plan: AnyPlan) -> AbstractContextManager[None]:
        """What has to surround the training of a cut model, so that it stays pruned."""

    def spare_blocks(self) -> list[str]:
        """The groups that are blocks, the least important first."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What a way to prune starts from.

    Attributes:
        model: the original trained model.
        name: readable name of it.
        weights: SHA-256 of its weights.
        example: input of one sample, ``[1, ...]``.
        calibration: a few training batches; none where there is no data.
        loss: the task's loss; None where there is no data.
        config: the settings.
        sparse: what sparse training made of the model before; None where there was none.
    """

    model: nn.Module
    name: str
    weights: str
    example: Tensor
    calibration: Sequence[tuple[Tensor, Tensor]]
    loss: Loss | None
    config: Config
    sparse: Sparsified | None = None

    @property
    def sparse_ranks(self) -> bool:
        """Whether what sparse training found ranks units: it does unless another criterion is named."""
        return self.sparse is not None and self.config.criterion == Config.model_fields["criterion"].default

    def criteria(self) -> list[CriterionName]:
        """The configured criteria, then with data those whose rankings are tried before any sampling."""
        named = self.config.references
        chosen = [named.criterion, *named.mix]
        return list(dict.fromkeys([*chosen, *(map(parse_criterion, ONE_SHOT) if self.loss else ())]))

    def batches(self) -> Batches | None:
        """The calibration data, for criteria; None where there is none."""
        return (lambda: self.calibration) if self.calibration else None
