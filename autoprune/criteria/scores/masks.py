"""Importance of single weights, and of what a mask takes together.

The units of a mask are blocks, kernels or rows of one weight, or single entries; what they are worth is the
sum of what their entries are worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Batches, Loss
from autoprune.criteria.ranking import Ranking
from autoprune.criteria.scores.gradients import batch_gradients, differentiable
from autoprune.criteria.scoring import require_differences
from autoprune.errors import CriterionError
from autoprune.structure.masks import LayerMask, MaskPlan, MaskStructure, mask_hash
from autoprune.structure.masks.patterns import mask_of, ranks

MASK_CRITERIA = ("l1", "l2", "random", "taylor")


@dataclass(frozen=True, eq=False)
class MaskScores:
    """What every unit of a model is worth by one criterion.

    Attributes:
        criterion: its name.
        structure: the units.
        scores: group name -> ``[contests, units]``; the larger, the more important.
    """

    criterion: str
    structure: MaskStructure
    scores: Mapping[str, Tensor]

    @cached_property
    def ranking(self) -> Ranking:
        """One score a unit of width, for choosing widths.

        For N:M it is the mean over all contests of the scores at that place, worst first. Magnitudes are
        comparable within a layer only; the first-order change of the loss is one for the whole model.
        """
        each = {
            name: scores if len(scores) == 1 else scores.sort(dim=1)[0]
            for name, scores in self.scores.items()
        }
        means = {name: scores.mean(dim=0).cpu() for name, scores in each.items()}
        return Ranking(self.criterion, means, relative=self.criterion != "taylor")

    def masks(self, widths: Mapping[str, int]) -> dict[str, Tensor]:
        """Name of a weight -> boolean mask, for groups that are narrower than they could be."""
        return {
            group.weight.name: mask_of(
                group.pattern, group.weight, self._places[group.name], widths[group.name]
            )
            for group in self.structure.groups
            if widths[group.name] < group.width
        }

    def plan(self, widths: Mapping[str, int], *, model: str = "", weights: str = "") -> MaskPlan:
        """The plan that keeps the highest-ranked units; a group of full width is not named in it.

        Args:
            widths: units that stay in each group.
            model: what the plan is for.
            weights: SHA-256 of its weights.
        """
        masks = self.masks(widths)
        layers = {
            group.name: LayerMask(widths[group.name], mask_hash(masks[group.weight.name]))
            for group in self.structure.groups
            if group.weight.name in masks
        }
        return MaskPlan(str(self.structure.pattern), layers, self.criterion, model, weights)

    @cached_property
    def _places(self) -> dict[str, Tensor]:
        return {name: ranks(scores) for name, scores in self.scores.items()}


def score_masks(
    criterion: str,
    model: nn.Module,
    structure: MaskStructure,
    *,
    batches: Batches | None = None,
    loss: Loss | None = None,
    seed: int = 0,
) -> MaskScores:
    """Score every unit of a mask structure.

    ``l1``: sum of ``|w|``; ``l2``: root of the sum of ``w ** 2`` (single weights: Han et al., 2015, for
    both); ``taylor``: sum of ``|w * gradient|``, the gradient averaged over the batches, which for single
    weights is the connection sensitivity of SNIP (Lee et al., 2019); ``random``: uniform numbers.

    Args:
        criterion: one of these.
        model: is not changed.
        structure: its units.
        batches: calibration data, for ``taylor``.
        loss: the task's loss, for ``taylor``.
        seed: of ``random``.

    Raises:
        CriterionError: for another criterion, missing data, or scores that are not finite or all equal; a
            warning where those of some groups are.
    """
    weights = {g.weight.name: model.get_parameter(g.weight.name).detach() for g in structure.groups}
    power = 2 if criterion == "l2" else 1
    if criterion in ("l1", "l2"):
        entries = {name: weight.float().abs() ** power for name, weight in weights.items()}
    elif criterion == "taylor":
        entries = _sensitivities(model, tuple(weights), batches, loss)
    elif criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        entries = {name: torch.rand(weight.shape, generator=generator) for name, weight in weights.items()}
    else:
        raise CriterionError(
            f"criterion {criterion!r} does not judge single weights: use {', '.join(MASK_CRITERIA)}"
        )
    scores = {}
    for group in structure.groups:
        values = group.pattern.arrange(entries[group.weight.name], group.weight).sum(dim=2) ** (1 / power)
        if not bool(torch.isfinite(values).all()):
            raise CriterionError(
                f"scores of {group.name!r} are not all finite: check the weights and the data"
            )
        scores[group.name] = values
    require_differences(criterion, scores)
    return MaskScores(criterion, structure, scores)


def _sensitivities(
    model: nn.Module, names: tuple[str, ...], batches: Batches | None, loss: Loss | None
) -> dict[str, Tensor]:
    """``|w * mean gradient|`` of every weight; zero where no gradient reaches it."""
    if batches is None or loss is None:
        raise CriterionError(
            "criterion taylor needs calibration data and a loss: give data, or use criterion l1"
        )
    model = differentiable(model)
    values = {name: model.get_parameter(name).detach() for name in names}
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in values.items()}
    count = 0
    for gradients in batch_gradients(model, batches(), loss):
        count += 1
        for name in names:
            if name in gradients:
                total[name] += gradients[name] * values[name]
    if count == 0:
        raise CriterionError("criterion taylor got no calibration batches: give at least one")
    return {name: value.abs() / count for name, value in total.items()}
