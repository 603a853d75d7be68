"""Derivatives of the loss by a gate on each unit, sample by sample.

A gate multiplies a unit's activation wherever a consumer reads it; closing it, from 1 to 0, removes the unit.
Its derivative, the sum of activation times gradient over all reads, entries and positions, is that of one
mask over all coupled layers in Liu et al., "Group Fisher Pruning for Practical Network Compression" (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.observation import Observation, first_and_all, observer
from autoprune.criteria.scores.gradients import differentiable, gradients_enabled, require_gradient
from autoprune.criteria.slices import inner


@dataclass(frozen=True, eq=False)
class Gates:
    """Derivatives ``g`` of a sample's loss by the gates, float64 ``[width]`` by the names of the groups.

    Attributes:
        mean: mean of ``g`` over the samples.
        squares: mean of ``g ** 2``.
    """

    mean: Mapping[str, Tensor]
    squares: Mapping[str, Tensor]


def gates(
    context: Context,
    criterion: str,
    change: Callable[[Tensor], Tensor] = lambda inputs: inputs,
) -> Gates:
    """One forward and backward pass over the calibration data, the model in eval mode.

    Args:
        context: with data and a loss that is the mean over the samples of a batch.
        criterion: name of the criterion that asks.
        change: is applied to every batch of inputs.

    Raises:
        CriterionError: without data or loss, where units cannot be seen, or without a gradient.
    """
    data, loss = context.labelled(criterion)
    first, batches = first_and_all(data)
    model = differentiable(context.model)
    device = next(model.parameters()).device
    watcher = observer(model, context.structure, first.to(device))
    widths = context.structure.widths
    sums = {name: torch.zeros(width, dtype=torch.float64) for name, width in widths.items()}
    squares = {name: torch.zeros(width, dtype=torch.float64) for name, width in widths.items()}
    samples = 0
    for inputs, targets in batches:
        batch: dict[str, Tensor] = {}
        with gradients_enabled(model):
            outputs = watcher.run(change(inputs).to(device), partial(_gated, batch))
            value = loss(outputs, targets.to(device))
            require_gradient(value)
            # Derivatives of the parameters are not kept; the gates note their own on the way.
            torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
        samples += len(inputs)
        for name, each in batch.items():
            sums[name] += (each * len(inputs)).sum(dim=0)
            squares[name] += (each * len(inputs)).square().sum(dim=0)
    return Gates(
        {name: value / samples for name, value in sums.items()},
        {name: value / samples for name, value in squares.items()},
    )


def _gated(batch: dict[str, Tensor], seen: Observation) -> Tensor:
    """The tensor under its own identity, so that the gradient of this read alone is noted."""
    if not seen.tensor.requires_grad:
        return seen.tensor
    own = seen.tensor.view_as(seen.tensor)
    name = seen.read.group

    def note(gradient: Tensor) -> None:
        units = seen.units(inner(gradient.detach(), seen.tensor.detach()))
        each = units.flatten(2).sum(dim=2, dtype=torch.float64).cpu()
        if seen.samples is None:
            # What is the same for all samples counts for each of them alike.
            each = each.expand(seen.count, -1) / seen.count
        batch[name] = batch[name] + each if name in batch else each

    own.register_hook(note)  # type: ignore[no-untyped-call]
    return own
