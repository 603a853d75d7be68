from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.structure.groups import Extent, Group, Role, Slice, Structure

STREAM, INNER = 4, 6


class ResidualNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STREAM, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(STREAM)
        self.a = nn.Conv2d(STREAM, INNER, 3, padding=1, bias=False)
        self.a_norm = nn.BatchNorm2d(INNER)
        self.b = nn.Conv2d(INNER, STREAM, 1, bias=False)
        self.b_norm = nn.BatchNorm2d(STREAM)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(STREAM * 4, 5)

    def forward(self, images: Tensor) -> Tensor:
        stream = self.stem_norm(self.stem(images)).relu()
        inner = self.a_norm(self.a(stream)).relu()
        stream = (stream + self.b_norm(self.b(inner))).relu()
        logits: Tensor = self.head(self.pool(stream).flatten(1))
        return logits


def trained_net(seed: int = 0) -> ResidualNet:
    """With statistics and affine parameters that differ from unit to unit, in training mode."""
    torch.manual_seed(seed)
    net = ResidualNet()
    for norm in (net.stem_norm, net.a_norm, net.b_norm):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return net


def _part(parameter: str, axis: int, role: Role, width: int, each: int = 1) -> Slice:
    return Slice(parameter, axis, role, np.arange(width * each).reshape(width, each))


def _norm(name: str, width: int) -> list[Slice]:
    return [
        _part(f"{name}.{key}", 0, "pass", width) for key in ("weight", "bias", "running_mean", "running_var")
    ]


def net_structure() -> Structure:
    stream = [
        _part("stem.weight", 0, "out", STREAM),
        _part("stem.bias", 0, "out", STREAM),
        *_norm("stem_norm", STREAM),
        _part("a.weight", 1, "in", STREAM),
        _part("b.weight", 0, "out", STREAM),
        *_norm("b_norm", STREAM),
        _part("head.weight", 1, "in", STREAM, 4),
    ]
    inner = [_part("a.weight", 0, "out", INNER), *_norm("a_norm", INNER), _part("b.weight", 1, "in", INNER)]
    net = ResidualNet()
    return Structure(
        groups=(
            Group("stem", "channels", STREAM, tuple(stream)),
            Group("a", "channels", INNER, tuple(inner)),
        ),
        frozen={"head": "its units are the model's outputs"},
        operations=(),
        tensors={name: tuple(Extent(n) for n in value.shape) for name, value in net.state_dict().items()},
        parameters=frozenset(name for name, _ in net.named_parameters()),
    )


def entries(tensor: Tensor, part: Slice, unit: int) -> list[float]:
    """The values of one unit, one by one."""
    mine = set(part.index[unit].tolist())
    return [tensor[where].item() for where in np.ndindex(*tensor.shape) if where[part.axis] in mine]


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(4, 3, 6, 6, generator=generator), torch.randint(0, 5, (4,), generator=generator))
        for _ in range(count)
    ]
