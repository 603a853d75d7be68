"""How a model is trained: the settings of recovery and of baseline training."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Literal, get_args

from autoprune.errors import ConfigError
from autoprune.recovery.training.precision import PrecisionName, check_precision
from autoprune.tasks.data import Split

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "onecycle"]


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; the defaults are a short recovery.

    Attributes:
        steps: optimiser steps (batches).
        optimizer: ``"sgd"`` (Nesterov momentum) or ``"adamw"``.
        lr: highest learning rate.
        momentum: of SGD.
        weight_decay: on tensors with two or more axes; BatchNorm and biases have none.
        batch_size: samples a step.
        schedule: ``"cosine"`` falls from ``lr`` to 0, ``"onecycle"`` rises first.
        label_smoothing: share of the target spread over all classes (classification only).
        distill: weight in [0, 1] of the teacher's outputs; the targets get the rest.
        temperature: softens both sides of the distillation term.
        clip: largest gradient norm; 0 means no clipping.
        distill_features: weight of the relative error of outputs inside that have the teacher's shapes.
        precision: ``"float32"``, ``"bf16"`` (mixed), or ``"auto"``: mixed where that is faster, see
            :class:`autoprune.recovery.training.precision.Precision`.
    """

    steps: int = 150
    optimizer: OptimizerName = "sgd"
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    schedule: ScheduleName = "cosine"
    label_smoothing: float = 0.0
    distill: float = 0.0
    temperature: float = 2.0
    clip: float = 0.0
    distill_features: float = 0.0
    precision: PrecisionName = "float32"

    @property
    def choices(self) -> dict[str, int | float | str]:
        """The settings that are not the defaults: they name a run, whatever settings are added."""
        every = {setting.name: (getattr(self, setting.name), setting.default) for setting in fields(self)}
        return {name: value for name, (value, default) in every.items() if value != default}

    @property
    def teaches(self) -> bool:
        """Whether the unpruned model is needed."""
        return self.distill > 0 or self.distill_features > 0

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(OptimizerName):
            raise ConfigError(f"optimizer {self.optimizer!r} is unknown: use 'sgd' or 'adamw'")
        if self.schedule not in get_args(ScheduleName):
            raise ConfigError(f"schedule {self.schedule!r} is unknown: use 'cosine' or 'onecycle'")
        for name in ("steps", "batch_size"):
            _require(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        for name in ("lr", "temperature"):
            _require(name, getattr(self, name), "greater than 0", getattr(self, name) > 0)
        check_precision(self.precision)
        for name in ("weight_decay", "clip", "distill_features"):
            _require(name, getattr(self, name), "0 or more", getattr(self, name) >= 0)
        for name in ("momentum", "label_smoothing"):
            value = getattr(self, name)
            _require(name, value, "at least 0 and less than 1", 0 <= value < 1)
        _require("distill", self.distill, "between 0 and 1", 0 <= self.distill <= 1)


def steps_for_epochs(epochs: float, split: Split, batch_size: int) -> int:
    """Steps that show every sample ``epochs`` times, counting full batches only; at least 1."""
    return max(1, round(epochs * max(1, len(split) // batch_size)))


def _require(name: str, value: float, expected: str, met: bool) -> None:
    if not met or not math.isfinite(value):
        raise ConfigError(f"{name} must be {expected}, got {value}")


_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(epochs?|steps?)")


def steps_of(text: str, split: Split, batch_size: int) -> int:
    """Steps in ``5epochs`` or ``500steps``. Raises ConfigError for anything else."""
    found = _LENGTH.fullmatch(text.strip())
    amount = float(found[1]) if found else 0.0
    if found is None or amount <= 0 or (found[2].startswith("step") and "." in found[1]):
        raise ConfigError(f"finetune {text[:60]!r} is no length: write 5epochs or 500steps")
    if found[2].startswith("step"):
        return int(amount)
    return steps_for_epochs(amount, split, batch_size)
