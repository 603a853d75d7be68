"""Gradients of the loss with respect to the parameters: one pass, read by several criteria."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.criteria.base import Context, Loss
from autoprune.criteria.slices import inner, unit_sums
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group, Role

PRODUCING: tuple[Role, ...] = ("out", "pass")
"""The parameters that are gone when nothing produces a unit."""
COUPLED: tuple[Role, ...] = ("out", "pass", "in")
"""All parameters that go with a unit."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """What one pass over the calibration data says of every unit, by the names of the groups.

    Attributes:
        changes: float64 ``[batches, width]``: per batch, the sum of gradient times parameter, with its sign,
            over the parameters that produce the unit.
        gates: the same over the weights that consume it; those that produce it where none does.
        magnitudes: ``[width]``: mean over batches of the sum of ``|gradient|`` over all coupled parameters.
        connections: ``[width]``: sum of ``|mean gradient * parameter|`` over all coupled parameters.
    """

    changes: Mapping[str, Tensor]
    gates: Mapping[str, Tensor]
    magnitudes: Mapping[str, Tensor]
    connections: Mapping[str, Tensor]


def gradients(context: Context, criterion: str) -> Gradients:
    """The pass, made once a context: the model in eval mode, one batch and one sum of gradients held.

    Raises CriterionError without data or loss, or when no gradient reaches the parameters.
    """
    data, loss = context.labelled(criterion)
    return context.once("gradients", lambda: _accumulate(context, data, loss))


def _accumulate(context: Context, data: Iterable[tuple[Tensor, Tensor]], loss: Loss) -> Gradients:
    groups = context.structure.groups
    model = differentiable(context.model)
    values = dict(model.named_parameters(remove_duplicate=False))
    changes: dict[str, list[Tensor]] = {group.name: [] for group in groups}
    gates: dict[str, list[Tensor]] = {group.name: [] for group in groups}
    magnitudes = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in groups}
    total: dict[str, Tensor] = {}
    count = 0
    for each in batch_gradients(model, data, loss):
        count += 1
        products = {name: inner(gradient, values[name].detach()) for name, gradient in each.items()}
        sizes = {name: gradient.abs() for name, gradient in each.items()}
        for group in groups:
            changes[group.name].append(over_unit(group, products, PRODUCING))
            gates[group.name].append(over_unit(group, products, gated_by(group)))
            magnitudes[group.name] += over_unit(group, sizes, COUPLED)
        for name, gradient in each.items():
            total[name] = total[name] + gradient if name in total else gradient
    mean = {name: inner(value / count, values[name].detach()).abs() for name, value in total.items()}
    return Gradients(
        {name: torch.stack(rows) for name, rows in changes.items()},
        {name: torch.stack(rows) for name, rows in gates.items()},
        {name: value / count for name, value in magnitudes.items()},
        {group.name: over_unit(group, mean, COUPLED) for group in groups},
    )


def gated_by(group: Group) -> tuple[Role, ...]:
    """The slices on which a gate of a unit acts: those that consume it, or produce it where none does."""
    return ("in",) if any(part.role == "in" for part in group.slices) else PRODUCING


def over_unit(group: Group, values: Mapping[str, Tensor], roles: tuple[Role, ...]) -> Tensor:
    """Sum over the entries of each unit in the slices of these roles: float64 ``[width]``."""
    total = torch.zeros(group.width, dtype=torch.float64)
    for part in group.slices:
        if part.role in roles and part.parameter in values:
            total += unit_sums(values[part.parameter], part)
    return total


def differentiable(model: nn.Module) -> nn.Module:
    """A copy in eval mode, all of whose parameters take gradients."""
    return copy.deepcopy(model).eval().requires_grad_(True)


def batch_gradients(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> Iterator[Mapping[str, Tensor]]:
    """For each batch: parameter name -> gradient of the loss; unused parameters are left out.

    Raises CriterionError when the loss does not depend on any of them in a way that can be differentiated.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    distinct = list(dict.fromkeys(named.values()))
    device = distinct[0].device
    for inputs, targets in batches:
        with gradients_enabled(model):
            value = loss(model(inputs.to(device, copy=True)), targets.to(device))
            require_gradient(value)
            found = torch.autograd.grad(value, distinct, allow_unused=True)
        by_tensor = {
            id(tensor): gradient.detach()
            for tensor, gradient in zip(distinct, found, strict=True)
            if gradient is not None
        }
        yield {name: by_tensor[id(tensor)] for name, tensor in named.items() if id(tensor) in by_tensor}


@contextmanager
def gradients_enabled(model: nn.Module) -> Iterator[None]:
    """Gradients are recorded meanwhile, whatever surrounds it."""
    # cuDNN has no backward pass for recurrent layers in eval mode.
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=not recurrent):
        yield


def require_gradient(loss: Tensor) -> None:
    """Raise CriterionError for a loss that cannot be differentiated."""
    if not loss.requires_grad:
        raise CriterionError(
            "no gradient reaches the weights, as forward detaches or rounds: use a criterion without "
            "gradients, such as l2"
        )
