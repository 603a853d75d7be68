"""A network of 60 groups that costs next to nothing, for studies of everything but the network."""

from __future__ import annotations

import torch
from torch import nn

GROUPS, WIDTH = 60, 16


def chain() -> nn.Module:
    """A chain of linear layers, each a separate group, on the flattened images of digits."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(GROUPS - 1) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), *hidden, nn.Linear(WIDTH, 10))


def small() -> nn.Module:
    """Five convolutions that can be evaluated in a few milliseconds, and cut in more ways than are tried."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
