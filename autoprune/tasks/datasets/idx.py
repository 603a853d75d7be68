"""Reader of the IDX files in which MNIST and Fashion-MNIST are distributed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import DataError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: Path) -> Tensor:
    """The bytes of an IDX file (plain or ``.gz``) as a uint8 tensor of the shape in its header.

    Raises DataError when the file cannot be read or its length does not match the header.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        _, kind, axes = struct.unpack_from(">HBB", raw)
        shape = struct.unpack_from(f">{axes}I", raw, 4)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"cannot read {path} ({error}): download it again") from error
    start = 4 + 4 * axes
    if kind != 8 or len(raw) - start != math.prod(shape):
        raise DataError(f"{path} is not a complete IDX file of bytes: download it again")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy())


def has_idx(folder: Path) -> bool:
    """Whether ``folder`` contains all four files, plain or compressed."""
    return all(_find(folder, name) for pair in FILES.values() for name in pair)


def read_pair(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images ``[N, 28, 28]`` uint8 and labels ``[N]`` int64 of ``split`` (``"train"`` or ``"test"``).

    Raises DataError when a file is missing or broken, or the two differ in length.
    """
    tensors = []
    for name in FILES[split]:
        path = _find(folder, name)
        if path is None:
            raise DataError(f"{folder} holds no {name} or {name}.gz: check the folder given as ROOT")
        tensors.append(read_idx(path))
    images, labels = tensors
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} images but {len(labels)} labels, download them again")
    return images, labels.long()


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
