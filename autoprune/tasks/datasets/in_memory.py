"""Small data in memory, decoded once instead of for every candidate."""

from __future__ import annotations

import torch

from autoprune.tasks.data import Split, TensorSplit

MOST_BYTES = 1 << 30
"""Splits that need more memory than this are read again each time."""


def held(split: Split, batch_size: int = 64) -> Split:
    """The samples of a deterministic split, in memory; the split itself if it is large.

    Splits with batches of unequal shapes are not held in memory.
    """
    if isinstance(split, TensorSplit):
        return split
    inputs, targets, count = [], [], 0
    for some, wanted in split.batches(batch_size):
        inputs.append(some)
        targets.append(wanted)
        count += len(some)
        expected = (some.nbytes + wanted.nbytes) / max(1, len(some)) * len(split)
        if (
            expected > MOST_BYTES
            or some.shape[1:] != inputs[0].shape[1:]
            or wanted.shape[1:] != targets[0].shape[1:]
        ):
            return split
    if count != len(split):
        return split
    return TensorSplit(torch.cat(inputs), torch.cat(targets), name=getattr(split, "name", ""))
