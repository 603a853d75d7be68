"""What happens when units are really removed, one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from residual_net import ResidualNet, net_structure
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.criteria import Context
from autoprune.structure.groups import Structure

Data = list[tuple[Tensor, Tensor]]


def without_unit(model: nn.Module, structure: Structure, name: str, unit: int) -> nn.Module:
    """The model in which nothing reads the unit."""
    silent = copy.deepcopy(model).eval()
    with torch.no_grad():
        for part in structure.group(name).slices:
            if part.role == "in":
                weight = silent.get_parameter(part.parameter)
                weight.index_fill_(part.axis, torch.from_numpy(part.index[unit]), 0.0)
    return silent


@torch.no_grad()
def mean_loss(model: nn.Module, data: Data) -> float:
    model = copy.deepcopy(model).eval()
    losses = [float(F.cross_entropy(model(x), y, reduction="sum")) for x, y in data]
    return sum(losses) / sum(len(y) for _, y in data)


def increases(context: Context, data: Data) -> dict[str, list[float]]:
    """Of the loss, by groups, when each unit alone is removed."""
    full = mean_loss(context.model, data)
    return {
        group.name: [
            mean_loss(without_unit(context.model, context.structure, group.name, unit), data) - full
            for unit in range(group.width)
        ]
        for group in context.structure.groups
    }


def agreement(scores: dict[str, Tensor], truth: dict[str, list[float]]) -> float:
    """Rank correlation over all units of the model."""
    ours = np.concatenate([scores[name].numpy() for name in truth])
    return float(spearmanr(ours, np.concatenate(list(truth.values()))).statistic)


def learned_data(count: int = 4, size: int = 64, seed: int = 3) -> Data:
    """Images of five patterns under noise."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(5, 3, 6, 6, generator=generator)
    drawn = torch.Generator().manual_seed(seed)
    data = []
    for _ in range(count):
        labels = torch.randint(0, 5, (size,), generator=drawn)
        data.append((patterns[labels] + torch.randn(size, 3, 6, 6, generator=drawn) * 1.5, labels))
    return data


def learned_context(change: Callable[[nn.Module], None] = lambda model: None) -> Context:
    """A small network after training, with its structure and data."""
    torch.manual_seed(0)
    model = ResidualNet().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for inputs, labels in learned_data(150, seed=7):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    change(model)
    return Context(model.eval(), net_structure(), learned_data, F.cross_entropy)
