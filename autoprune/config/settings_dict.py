"""The settings as keyword arguments in Python, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal, TypedDict

from autoprune.config.settings import Sparsify


class SettingsDict(TypedDict, total=False):
    """Every field of :class:`autoprune.Config` but those that are arguments by themselves.

    These are ``model``, ``data``, ``budget`` and ``storage``, which take objects as well. A list may be one
    text, and a file a path.
    """

    weights: str | PurePath | None
    metric: str | None
    device: str
    train_epochs: int
    train_lr: float
    train_batch_size: int
    skip: str | Sequence[str]
    only: str | Sequence[str]
    first_last: Literal["prune", "keep"]
    granularity: str
    min_density: float
    min_width: int
    shared: Literal["joint", "frozen", "untie"]
    attention: Literal["heads", "width"]
    depth: bool
    bounds: str | Sequence[str]
    round_to: Literal["auto"] | int
    sparsify: Sparsify | None
    sparsify_epochs: int
    sparsify_strength: float | None
    objective: str | Sequence[str]
    study: str | None
    workers: int
    engine: Literal["processes", "ray"]
    address: str | None
    space: Literal["auto", "criterion", "sparsity"]
    sampler: Literal["auto", "gp", "tpe", "nsga2", "nsga3", "random"]
    preview: Literal["auto", "always", "never"]
    gaps: bool
    criterion: str | PurePath
    mix: str | Sequence[str]
    mix_by: Literal["trial", "class", "weights"]
    coefficients: Literal["scale", "affine"]
    seed: int
    early_stopping: bool
    holdout_share: float | None
    compensate: bool
    rebuild: bool
    finetune_steps: int | None
    optimizer: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float
    batch_size: int
    distill: float
    distill_features: float
    label_smoothing: float
    clip: float
    precision: Literal["auto", "float32", "bf16"]
    augment: Literal["data", "none", "shift", "shift-flip"]
    calibration_batches: int
    latency: bool
    profile: bool
    latency_batch: int
    latency_seconds: float
    runtime: str
    latency_dtype: Literal["float32", "bfloat16", "float16"] | None
    channels_last: bool
    threads: int | None
