"""The models of the latency studies."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

from autoprune.tasks.zoo import resnet20

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda: torchvision.models.resnet18(), (1, 3, 224, 224)),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), (1, 3, 224, 224)),
    "resnet20": (lambda: resnet20(), (64, 1, 28, 28)),
}
"""Name -> how it is built, and the shape of what it is timed on."""


def subject(name: str) -> tuple[nn.Module, Tensor]:
    """A model with random weights and its input."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    return build().eval(), torch.rand(shape)
