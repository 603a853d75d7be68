"""A network of many groups that trains in seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.recovery import Recipe, finetune
from autoprune.tasks import Data

WIDTH, HIDDEN = 32, 24
RECIPE = Recipe(steps=800, lr=0.02, batch_size=64, schedule="onecycle")


class Block(nn.Module):
    """Two hidden layers on a residual stream, each a separate group."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, HIDDEN)
        self.middle = nn.Linear(HIDDEN, HIDDEN)
        self.outer = nn.Linear(HIDDEN, WIDTH)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """What the stream is after this block; shape ``[N, WIDTH]``."""
        added: Tensor = self.outer(torch.relu(self.middle(torch.relu(self.inner(x)))))
        return x + added


class Perceptron(nn.Module):
    """Residual blocks on flattened images of digits: ``2 * blocks + 1`` groups."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Linear(64, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(blocks)))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 10]`` of images ``[N, 1, 8, 8]``."""
        logits: Tensor = self.head(self.blocks(torch.relu(self.stem(x.flatten(1)))))
        return logits


def trained(data: Data, blocks: int) -> nn.Module:
    """A perceptron that has learned the digits; the same one at each call."""
    torch.manual_seed(0)
    model = Perceptron(blocks)
    finetune(model, data, RECIPE, seed=0)
    return model.eval()
