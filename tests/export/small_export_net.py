from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.structure import Plan, apply, discover
from autoprune.tasks.zoo import ResNet


def small_net() -> nn.Module:
    return ResNet(channels=1, widths=(8,), blocks=1, classes=3)


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(x.reshape(4, 6)).relu())
        return logits


def shifted_net(seed: int = 0) -> nn.Module:
    """With BatchNorm statistics that matter, in training mode."""
    torch.manual_seed(seed)
    net = small_net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net


def cut_every_group(base: nn.Module, example: Tensor) -> tuple[nn.Module, Plan]:
    """The last three units of every group go."""
    structure = discover(base, example)
    plan = Plan({group.name: tuple(range(group.width - 3)) for group in structure.groups}, "small net")
    return apply(base, plan, structure), plan
