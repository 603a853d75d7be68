"""First-order Taylor expansion of the loss.

Removing a unit sets its parameters to zero, which changes the loss by about the sum of gradient times
parameter. The square of that sum, averaged over batches, is the unit's importance: Molchanov et al.,
"Importance Estimation for Neural Network Pruning" (2019).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Context, Loss
from autoprune.criteria.registry import register
from autoprune.criteria.slices import unit_sums
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


@register("taylor")
class Taylor:
    """Mean over batches of ``(sum of gradient * parameter) ** 2``.

    The sum runs over the parameters of a unit's "out" and "pass" slices: those that are gone when
    nothing produces the unit. The model is evaluated in eval mode; one batch is held at a time.
    """

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError without data or loss."""
        if context.batches is None or context.loss is None:
            raise CriterionError(
                "criterion taylor needs calibration data and a loss: give data, or use criterion l2"
            )
        model = copy.deepcopy(context.model).eval().requires_grad_(True)
        total = {
            group.name: torch.zeros(group.width, dtype=torch.float64) for group in context.structure.groups
        }
        count = 0
        for products in gradient_times_parameter(model, context.batches(), context.loss):
            count += 1
            for group in context.structure.groups:
                total[group.name] += _unit_change(group, products).square()
        if count == 0:
            raise CriterionError("criterion taylor got no calibration batches: give at least one")
        return {name: value / count for name, value in total.items()}


def gradient_times_parameter(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> Iterable[Mapping[str, Tensor]]:
    """For each batch: parameter name -> gradient * parameter; unused parameters are left out."""
    named = dict(model.named_parameters(remove_duplicate=False))
    distinct = list(dict.fromkeys(named.values()))
    device = distinct[0].device
    # cuDNN has no backward pass for recurrent layers in eval mode.
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    for inputs, targets in batches:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=not recurrent):
            value = loss(model(inputs.to(device)), targets.to(device))
            gradients = torch.autograd.grad(value, distinct, allow_unused=True)
        product = {
            id(parameter): gradient * parameter.detach()
            for parameter, gradient in zip(distinct, gradients, strict=True)
            if gradient is not None
        }
        yield {name: product[id(parameter)] for name, parameter in named.items() if id(parameter) in product}


def _unit_change(group: Group, products: Mapping[str, Tensor]) -> Tensor:
    """First-order change of the loss, with its sign, when each unit alone is removed: ``[width]``."""
    change = torch.zeros(group.width, dtype=torch.float64)
    for part in group.slices:
        if part.role in ("out", "pass") and part.parameter in products:
            change += unit_sums(products[part.parameter], part)
    return change
