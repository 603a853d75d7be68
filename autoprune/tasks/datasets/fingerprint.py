"""A fingerprint of the samples, which must be the same on all machines of a study."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from autoprune.tasks.data import Data, DatasetSplit, LoaderSplit, Split, TensorSplit
from autoprune.tasks.datasets.subset import in_order

SAMPLES = 64
"""Number of samples read from a split that is not in memory."""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def data_hash(data: Data) -> str:
    """SHA-256 (hex) over the sizes of all splits and the training and validation samples.

    For splits in memory, all samples count; otherwise the first :data:`SAMPLES` of the validation split, if
    they can be read in order. Test samples are not read.
    """
    digest = hashlib.sha256()
    sizes = [len(split) for split in (data.train, data.validation, data.test)]
    digest.update(repr(sizes).encode())
    for split in (data.train, data.validation):
        if isinstance(split, TensorSplit):
            _add(digest, split.inputs)
            _add(digest, split.targets)
    if not isinstance(data.validation, TensorSplit) and _is_ordered(data.validation):
        for inputs, targets in islice(data.validation.batches(SAMPLES), 1):
            _add(digest, inputs[:SAMPLES])
            _add(digest, targets[:SAMPLES])
    return digest.hexdigest()


def _is_ordered(split: Split) -> bool:
    return isinstance(split, DatasetSplit) or (isinstance(split, LoaderSplit) and in_order(split.loader))


def _add(digest: _Digest, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().tobytes())
