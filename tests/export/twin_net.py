from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.gelu(self.conv(x))


class TwinNet(nn.Module):
    """One encoder for two sizes of an image, residual blocks, and a tied decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(Residual(), Residual())
        self.narrow = nn.Linear(12, 5)
        self.decode = nn.Linear(5, 12)
        self.head = nn.Linear(12, 3)
        self.last = nn.Linear(12, 3)
        self.last.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.encoder(x), self.encoder(functional.avg_pool2d(x, 2))
        x = torch.cat([self.blocks(large).mean((2, 3)), small.mean((2, 3))], 1)
        logits: Tensor = self.head(torch.relu(self.decode(torch.relu(self.narrow(x)))))
        return logits + self.last(x)


def twin_net() -> nn.Module:
    torch.manual_seed(0)
    return TwinNet()
