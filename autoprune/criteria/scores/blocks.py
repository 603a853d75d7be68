"""Importance of residual blocks: what the loss loses without each of them."""

from __future__ import annotations

import math

import torch
from torch import nn

from autoprune.criteria.base import Context
from autoprune.errors import CriterionError
from autoprune.structure import Plan, apply


def block_importance(context: Context) -> dict[str, float]:
    """Group name of every block -> increase of the mean loss over the calibration batches without it.

    The model is evaluated in eval mode, once as it is and once for each block. A block without which the
    loss is not finite is infinitely important.

    Raises:
        CriterionError: without data or loss, or where the loss of the whole model is not finite.
    """
    structure = context.structure
    blocks = [group.name for group in structure.groups if group.block is not None]
    if not blocks:
        return {}
    full = _loss(context, context.model)
    if not math.isfinite(full):
        raise CriterionError("the loss on the calibration data is not finite: check the weights and the data")
    without = (apply(context.model, Plan.of(structure, {n: ()}), structure, share=True) for n in blocks)
    losses = {name: _loss(context, model) for name, model in zip(blocks, without, strict=True)}
    return {name: loss - full if math.isfinite(loss) else math.inf for name, loss in losses.items()}


def _loss(context: Context, model: nn.Module) -> float:
    if context.batches is None or context.loss is None:
        raise CriterionError("the importance of blocks needs calibration data and a loss: give data")
    training, device = model.training, next(model.parameters()).device
    losses = []
    try:
        model.eval()
        with torch.no_grad():
            for inputs, targets in context.batches():
                losses.append(float(context.loss(model(inputs.to(device, copy=True)), targets.to(device))))
    finally:
        model.train(training)
    if not losses:
        raise CriterionError("the importance of blocks got no calibration batches: give at least one")
    return sum(losses) / len(losses)
