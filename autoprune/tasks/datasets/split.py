"""Fixed partitions: the validation and test samples never depend on the seed of a run."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from autoprune.errors import DataError

SPLIT_SEED = 20


def hold_out(targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Two sorted index tensors ``(rest, held out)``, ``count`` held out, classes in equal shares.

    ``targets`` are class indices ``[N]``; equal targets give an equal partition, always. Raises
    DataError when there are too few samples of a class.
    """
    try:
        rest, held = train_test_split(
            np.arange(len(targets)), test_size=count, stratify=targets.numpy(), random_state=SPLIT_SEED
        )
    except ValueError as error:
        raise DataError(f"cannot split {len(targets)} samples: {error}") from error
    return torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(held))


def three_way(targets: Tensor, validation: float, test: float) -> tuple[Tensor, Tensor, Tensor]:
    """Index tensors ``(train, validation, test)`` with these shares held out, stratified and fixed."""
    rest, tested = hold_out(targets, max(1, round(test * len(targets))))
    train, validated = hold_out(targets[rest], max(1, round(validation * len(targets))))
    return rest[train], rest[validated], tested
