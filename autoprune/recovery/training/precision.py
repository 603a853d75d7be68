"""Mixed precision: forward passes in a short number format, weights and their updates in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from autoprune.errors import ConfigError
from autoprune.tasks.evaluate import device_of

PrecisionName = Literal["auto", "float32", "bf16"]
_FORMATS = {"float32": None, "bf16": torch.bfloat16}


def check_precision(name: str) -> None:
    """Raise ConfigError for a name that is none."""
    if name not in get_args(PrecisionName):
        raise ConfigError(f"precision {name!r} is unknown: use 'auto', 'float32' or 'bf16'")


class Precision:
    """How one training run computes; what it keeps between steps is the scale of its losses.

    ``auto`` is bfloat16 on a CUDA device that computes with it, float16 on older ones (with losses scaled
    so that small gradients survive, Micikevicius et al., 2018). On a CPU it is bfloat16 where that has
    AMX (ResNet-20 trains twice as fast) and the model no grouped convolutions (with depthwise ones it
    trains 1.5 times as long), and float32 otherwise.
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        check_precision(name)
        self._device = device_of(model).type
        self._format = _automatic(model) if name == "auto" else _FORMATS[name]
        halves = self._format is torch.float16
        self._scaler = torch.amp.GradScaler(self._device, enabled=halves)

    def forward(self) -> AbstractContextManager[object]:
        """What surrounds a forward pass with its loss."""
        if self._format is None:
            return nullcontext()
        return torch.autocast(self._device, dtype=self._format)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those that are there."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self, model: nn.Module, optimizer: Optimizer, clip: float) -> None:
        """One optimiser step down the gradient, whose norm is at most ``clip`` (0: any)."""
        if clip > 0:
            self._scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, float]:
        """What a run that goes on needs."""
        return self._scaler.state_dict()

    def restore(self, state: dict[str, float]) -> None:
        """Go on from :meth:`state`."""
        self._scaler.load_state_dict(state)


def _automatic(model: nn.Module) -> torch.dtype | None:
    if device_of(model).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    is_grouped = any(getattr(module, "groups", 1) > 1 for module in model.modules())
    return torch.bfloat16 if _has_amx() and not is_grouped else None


def _has_amx() -> bool:
    # Older versions of torch cannot tell.
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("amx_bf16"))
