"""The trained model that pruning starts from, where the user brings none: trained once, then kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock
from torch import nn

from autoprune.errors import DamagedError
from autoprune.recovery.training.finetune import OnStep, finetune
from autoprune.recovery.training.recipe import Recipe
from autoprune.tasks.cache import cache_folder
from autoprune.tasks.checkpoints.weights import load_weights, save_weights
from autoprune.tasks.data import Data


def train_baseline(
    model: nn.Module, data: Data, recipe: Recipe, *, key: str, seed: int, on_step: OnStep | None = None
) -> Path:
    """Train ``model`` in place and keep the weights in the cache; load them instead if they are there.

    ``key`` names the baseline: it must tell apart everything that leads to other weights (model, data,
    recipe, seed). Of several processes with one key, one trains and the others wait for it.

    Returns the safetensors file. Raises what :func:`finetune` and
    :func:`autoprune.tasks.load_weights` raise.
    """
    path = baseline_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not _loaded(model, path):
            finetune(model, data, recipe, seed=seed, on_step=on_step)
            save_weights(model, path)
    return path


def _loaded(model: nn.Module, path: Path) -> bool:
    """Whether the weights were there; a damaged file is none, for it can be made again."""
    try:
        if path.is_file():
            load_weights(model, path)
            return True
    except DamagedError:
        return False
    return False


def baseline_path(key: str) -> Path:
    """Where the weights of that baseline are kept, whether or not they are there yet."""
    return cache_folder() / "baselines" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
