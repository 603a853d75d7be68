"""A user's photos in folders, one folder a class, read from disk as they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from autoprune.errors import DataError
from autoprune.tasks.augment import CropFlip
from autoprune.tasks.data import Data, DatasetSplit
from autoprune.tasks.split import three_way
from autoprune.tasks.task import classification

PARTS = ("train", "val", "test")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AUGMENT = CropFlip(padding=16)


def imagefolder(root: str) -> Data:
    """Images ``[N, 3, 224, 224]``, standardised as for ImageNet, from a folder of class folders.

    Either ``root`` holds ``train``, ``val`` and ``test`` with the same classes each, or class folders
    that are split 70/15/15, always in the same way.

    Raises DataError when the folder is missing, holds no images, or the classes differ.
    """
    if not root:
        raise DataError("imagefolder needs a folder: write imagefolder:ROOT")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"imagefolder: there is no folder {folder}, check the path")
    if any((folder / part).is_dir() for part in PARTS):
        return _in_parts(folder)
    images = _read(folder)
    indices = three_way(torch.tensor(images.targets), validation=0.15, test=0.15)
    train, validation, test = (Subset(images, index.tolist()) for index in indices)
    return Data(
        name=f"imagefolder:{folder.name}",
        train=DatasetSplit(train, AUGMENT),
        validation=DatasetSplit(validation),
        test=DatasetSplit(test),
        task=classification(len(images.classes)),
    )


def _in_parts(folder: Path) -> Data:
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {missing[0]}: give train, val and test, or class folders only"
        )
    train, validation, test = (_read(folder / part) for part in PARTS)
    for part, images in zip(PARTS[1:], (validation, test), strict=True):
        if images.classes != train.classes:
            raise DataError(f"{folder}: {part} has other class folders than train, make them the same")
    return Data(
        name=f"imagefolder:{folder.name}",
        train=DatasetSplit(train, AUGMENT),
        validation=DatasetSplit(validation),
        test=DatasetSplit(test),
        task=classification(len(train.classes)),
    )


def _read(folder: Path) -> Any:
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    try:
        return ImageFolder(str(folder), transforms.Compose(steps))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} has no or empty class folders: put images in one folder a class"
        ) from error
