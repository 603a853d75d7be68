"""Small random networks, half of which look at the strides of their tensors, and data for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune import Data
from autoprune.tasks import TensorSplit, classification, layout
from autoprune.tasks.layout_trial import Verdict

SIZE, CLASSES = 12, 4
WIDTHS = (8, 16, 24)


class Block(nn.Module):
    """A convolution with what mostly goes with one."""

    def __init__(self, draw: random.Random, inputs: int, outputs: int) -> None:
        super().__init__()
        kernel = draw.choice((1, 3, 3, 3)) if inputs > 3 else 3
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=draw.random() < 0.5)
        norms = (nn.Identity(), nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs), nn.GroupNorm(1, outputs))
        self.norm = draw.choice(norms)
        self.activation = draw.choice((nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU(), nn.Hardswish()))
        self.residual = inputs == outputs and draw.random() < 0.7
        self.dropout = nn.Dropout(0.1) if draw.random() < 0.15 else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        outputs = self.norm(self.convolution(inputs))
        if self.residual:
            outputs = outputs + inputs
        return self.dropout(self.activation(outputs))


class Network(nn.Module):
    """Blocks with pooling, and a head that reads the image in one of several ways."""

    def __init__(self, seed: int, *, looks: bool) -> None:
        super().__init__()
        draw = random.Random(seed)
        widths = [3, *(draw.choice(WIDTHS) for _ in range(draw.randint(1, 2)))]
        self.blocks = nn.ModuleList(Block(draw, *pair) for pair in pairwise(widths))
        self.pools = [draw.choice((1, 1, 2)) for _ in self.blocks]
        self.pool = draw.choice((functional.max_pool2d, functional.avg_pool2d))
        self.head = draw.choice(("view", "view", "branch") if looks else ("flatten", "mean", "pooled view"))
        side = SIZE
        for pool in self.pools:
            side //= pool
        features = widths[-1] * (side * side if self.head in ("view", "flatten") else 1)
        self.first, self.last = nn.Linear(features, 16), nn.Linear(16, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        x = inputs
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = block(x)
            x = x if pool == 1 else self.pool(x, pool)
        return self.last(functional.relu(self.first(self._features(x))))

    def _features(self, x: Tensor) -> Tensor:
        if self.head == "branch":
            return x.mean((2, 3)) if x.is_contiguous() else x.amax((2, 3))
        if self.head == "mean":
            return x.mean((2, 3))
        if self.head == "pooled view":
            return functional.avg_pool2d(x, x.size(3)).view(x.size(0), -1)
        return x.view(x.size(0), -1) if self.head == "view" else torch.flatten(x, 1)


def network(seed: int) -> Network:
    """One of the networks; those with odd seeds look at strides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(seed, looks=seed % 2 == 1)


def data(seed: int, samples: int = 64) -> Data:
    """Images of noise on a weak pattern of their class."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, 3, SIZE, SIZE, generator=generator)

    def part() -> TensorSplit:
        targets = torch.randint(CLASSES, (samples,), generator=generator)
        return TensorSplit(
            patterns[targets] + torch.randn(samples, 3, SIZE, SIZE, generator=generator), targets
        )

    return Data("noise", part(), part(), part(), classification(CLASSES))


@contextmanager
def internal_layout(*, used: bool) -> Iterator[list[bool]]:
    """Try the layout on every model meanwhile, or on none; gives for each whether it is used."""
    found: list[bool] = []
    tried, takes = layout.tried, layout._takes_channels_last

    def noting(*arguments: Any) -> Verdict:
        verdict = tried(*arguments)
        found.append(verdict is not Verdict.VISIBLE)
        return verdict

    with (
        mock.patch.object(layout, "LEAST_VALUES", 0),
        mock.patch.object(layout, "tried", noting),
        mock.patch.object(layout, "_takes_channels_last", takes if used else _never),
    ):
        yield found


def _never(_model: nn.Module) -> bool:
    return False
