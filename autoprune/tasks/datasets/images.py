"""Small image sets that are kept in memory: digits, MNIST, Fashion-MNIST and CIFAR-10."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision import datasets

from autoprune.errors import DataError
from autoprune.tasks.cache import cache_folder
from autoprune.tasks.data import Data, TensorSplit
from autoprune.tasks.datasets.augment import CropFlip
from autoprune.tasks.datasets.idx import has_idx, read_pair
from autoprune.tasks.datasets.split import hold_out, three_way
from autoprune.tasks.import_reference import summary
from autoprune.tasks.task import classification
from autoprune.utils.plain_files import read_plain

FASHION_PACKAGE = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's ``dataset-fashion-mnist`` puts the files."""
_CIFAR_BYTES = 64 << 20
"""Of one of its files, at most; each has 31 MB."""


class ImageFormat(NamedTuple):
    """How an image set is standardised (per channel) and augmented."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool

    def standardise(self, images: Tensor) -> Tensor:
        """Bytes ``[N, C, H, W]`` as float32 with mean 0 and deviation 1 a channel."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images.float() / 255 - mean) / std

    def augment(self) -> CropFlip:
        """Crop and flip; the border is as dark as a black pixel (the channels' mean of it)."""
        dark = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return CropFlip(self.padding, self.flip, sum(dark) / len(dark))


MNIST = ImageFormat((0.1307,), (0.3081,), padding=2, flip=False)
FASHION = ImageFormat((0.2860,), (0.3530,), padding=2, flip=True)
CIFAR10 = ImageFormat((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), padding=4, flip=True)


def digits() -> Data:
    """The 1,797 handwritten digits bundled with scikit-learn, ``[N, 1, 8, 8]``, split 60/20/20."""
    bunch = load_digits()
    targets = torch.from_numpy(bunch.target).long()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
    train, validation, test = three_way(targets, validation=0.2, test=0.2)
    mean, std = images[train].mean(), images[train].std()
    images = (images - mean) / std
    augment = CropFlip(padding=1, flip=False, fill=float(-mean / std))
    return Data(
        name="digits",
        train=TensorSplit(images[train], targets[train], augment),
        validation=TensorSplit(images[validation], targets[validation]),
        test=TensorSplit(images[test], targets[test]),
        task=classification(10),
    )


def mnist(root: str | None) -> Data:
    """MNIST, ``[N, 1, 28, 28]``: 55,000 train, 5,000 validation, 10,000 test."""
    folder = Path(root).expanduser() if root else _downloaded(datasets.MNIST, "mnist") / "MNIST" / "raw"
    return _from_idx("mnist", folder, MNIST)


def fashion_mnist(root: str | None) -> Data:
    """Fashion-MNIST (Xiao et al., 2017), ``[N, 1, 28, 28]``: 55,000 train, 5,000 validation, 10,000 test."""
    if root:
        folder = Path(root).expanduser()
    elif has_idx(FASHION_PACKAGE):
        folder = FASHION_PACKAGE
    else:
        folder = _downloaded(datasets.FashionMNIST, "fashion-mnist") / "FashionMNIST" / "raw"
    return _from_idx("fashion-mnist", folder, FASHION)


def cifar10(root: str | None) -> Data:
    """CIFAR-10, ``[N, 3, 32, 32]``: 45,000 train, 5,000 validation, 10,000 test."""
    folder = Path(root).expanduser() if root else _downloaded(datasets.CIFAR10, "cifar10")
    known, test = (
        _cifar_batches(folder, listed) for listed in (datasets.CIFAR10.train_list, datasets.CIFAR10.test_list)
    )
    return _small_images("cifar10", known, test, CIFAR10)


def _cifar_batches(folder: Path, listed: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
    """Images ``[N, 3, 32, 32]`` uint8 and labels ``[N]`` int64 of files, given by names and MD5.

    They are pickles. Only the very bytes are unpickled that were found to be those which were published:
    torchvision reads each file a second time.
    """
    images, targets = [], []
    for name, published in listed:
        try:
            content = read_plain(folder / datasets.CIFAR10.base_folder / name, _CIFAR_BYTES)
        except OSError as error:
            raise DataError(
                f"{folder} holds no CIFAR-10 ({summary(error)}): give the parent of cifar-10-batches-py"
            ) from error
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != published:
            raise DataError(f"{folder}: {name} is not the one of CIFAR-10: download it again")
        batch = pickle.loads(content, encoding="latin1")
        images.append(torch.from_numpy(batch["data"]).reshape(-1, 3, 32, 32))
        targets.append(torch.tensor(batch["labels"]))
    return torch.cat(images), torch.cat(targets)


def _from_idx(name: str, folder: Path, look: ImageFormat) -> Data:
    if not folder.is_dir():
        raise DataError(f"{name}: there is no folder {folder}, check the path")
    train, test = (read_pair(folder, split) for split in ("train", "test"))
    return _small_images(name, (train[0].unsqueeze(1), train[1]), (test[0].unsqueeze(1), test[1]), look)


def _small_images(
    name: str, known: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], look: ImageFormat
) -> Data:
    """Byte images with an official test set; one twelfth (at most 5,000) of the rest validates."""
    images, targets = look.standardise(known[0]), known[1]
    train, validation = hold_out(targets, min(5000, len(targets) // 12))
    return Data(
        name=name,
        train=TensorSplit(images[train], targets[train], look.augment()),
        validation=TensorSplit(images[validation], targets[validation]),
        test=TensorSplit(look.standardise(test[0]), test[1]),
        task=classification(int(targets.max()) + 1),
    )


def _downloaded(dataset: type, name: str) -> Path:
    """Folder of a torchvision data set in the cache, downloaded when it is not there yet."""
    folder = cache_folder() / "datasets" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dataset(str(folder), download=True)
    except (OSError, RuntimeError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(
            f"{name} cannot be downloaded ({summary(error)}): give its folder as {name}:ROOT"
        ) from error
    return folder
