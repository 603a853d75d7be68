"""Reader of the IDX files in which MNIST and Fashion-MNIST are distributed."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import DataError
from autoprune.utils.plain_files import open_plain

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


_MOST_RATIO, _SPARE = 32, 64 << 20
"""Bytes that a compressed file may give for each of its own, and besides: all of MNIST is 47 MB."""


def read_idx(path: Path) -> Tensor:
    """The bytes of an IDX file (plain or ``.gz``) as a uint8 tensor of the shape in its header.

    Raises DataError when the file cannot be read, its length does not match the header, or it unpacks to more
    than goes with its size.
    """
    try:
        with open_plain(path) as file:
            most = _MOST_RATIO * os.fstat(file.fileno()).st_size + _SPARE
            if path.suffix == ".gz":
                with gzip.open(file) as unpacked:
                    shape, content = _read(unpacked, most)
            else:
                shape, content = _read(file, most)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"cannot read {path} ({error}): download it again") from error
    except ValueError:
        raise DataError(f"{path} is not a complete IDX file of bytes: download it again") from None
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(shape).copy())


def _read(file: BinaryIO | gzip.GzipFile, most: int) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes. Raises ValueError unless these are as many as it says, at most `most`."""
    _, kind, axes = struct.unpack(">HBB", file.read(4))
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    count = math.prod(shape)
    if kind != 8 or count > most:
        raise ValueError(shape)
    content = file.read(count + 1)
    if len(content) != count:
        raise ValueError(shape)
    return shape, content


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
