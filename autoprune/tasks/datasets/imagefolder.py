"""A user's images, one folder per class, read from disk on demand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from autoprune.errors import DataError
from autoprune.tasks.data import Data, DatasetSplit
from autoprune.tasks.datasets.augment import CropFlip
from autoprune.tasks.datasets.image_file import read_image
from autoprune.tasks.datasets.split import three_way
from autoprune.tasks.task import classification
from autoprune.utils.path_options import split_options

PARTS = ("train", "val", "test")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZED, SHIFTED = 8 / 7, 1 / 14
"""Side before the crop, and maximum shift of training images, as shares of the size."""
OPTIONS = ("size", "mean", "std")
LARGEST = 4096


@dataclass(frozen=True)
class Preparation:
    """How images are converted to model inputs.

    Attributes:
        size: side in pixels.
        mean: mean of each colour channel.
        std: standard deviation of each colour channel.
    """

    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def steps(self) -> transforms.Compose:
        """The transform of one image."""
        return transforms.Compose(
            [
                transforms.Resize(round(self.size * RESIZED)),
                transforms.CenterCrop(self.size),
                transforms.ToTensor(),
                transforms.Normalize(self.mean, self.std),
            ]
        )

    @property
    def augment(self) -> CropFlip:
        """The augmentation of training batches."""
        return CropFlip(padding=round(self.size * SHIFTED))


def imagefolder(root: str) -> Data:
    """Images ``[N, 3, size, size]`` from a folder of class folders, by default normalised as for ImageNet.

    ``root`` contains either ``train``, ``val`` and ``test`` with the same classes each, or class folders that
    are split 70/15/15, always in the same way. ``ROOT,size=160,mean=0.5,std=0.5`` sets the model's
    preprocessing; each value applies to all colour channels.

    Raises DataError if the folder is missing or has no images, the classes differ, or an option is wrong.
    """
    path, options = split_options(root)
    if not path:
        raise DataError("imagefolder needs a folder: write imagefolder:ROOT")
    folder, preparation = Path(path).expanduser(), _preparation(options)
    if not folder.is_dir():
        raise DataError(f"imagefolder: there is no folder {folder}, check the path")
    if any((folder / part).is_dir() for part in PARTS):
        train, validation, test = _in_parts(folder, preparation)
        classes = train.classes
    else:
        images = _read(folder, preparation)
        classes = images.classes
        indices = three_way(torch.tensor(images.targets), validation=0.15, test=0.15)
        train, validation, test = (Subset(images, index.tolist()) for index in indices)
    return Data(
        name=f"imagefolder:{folder.name}{options and ','}{options}",
        train=DatasetSplit(train, preparation.augment),
        validation=DatasetSplit(validation),
        test=DatasetSplit(test),
        task=classification(len(classes)),
        source=str(folder.resolve()),
    )


def _preparation(options: str) -> Preparation:
    """Read ``size=160,mean=0.5,std=0.5``. Raises DataError for another option or value."""
    found = Preparation()
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name not in OPTIONS:
            raise DataError(f"imagefolder has no option {name!r}: there are size=160, mean=0.5 and std=0.5")
        if name == "size":
            if not value.isdecimal() or not 1 <= int(value) <= LARGEST:
                raise DataError(f"imagefolder: size={value} is not a number of pixels: write size=160")
            found = replace(found, size=int(value))
        elif name == "mean":
            found = replace(found, mean=(_number(name, value),) * 3)
        else:
            found = replace(found, std=(_number(name, value),) * 3)
    return found


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = nan
    if not isfinite(number) or (name == "std" and number <= 0):
        raise DataError(f"imagefolder: {name}={value} is invalid: write {name}=0.5")
    return number


def _in_parts(folder: Path, preparation: Preparation) -> tuple[Any, Any, Any]:
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {missing[0]}: give train, val and test, or class folders only"
        )
    train, validation, test = (_read(folder / part, preparation) for part in PARTS)
    for part, images in zip(PARTS[1:], (validation, test), strict=True):
        if images.classes != train.classes:
            raise DataError(f"{folder}: {part} has other class folders than train, make them the same")
    return train, validation, test


def _read(folder: Path, preparation: Preparation) -> Any:
    try:
        return ImageFolder(str(folder), preparation.steps, loader=read_image)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} has no or empty class folders: put images in one folder a class"
        ) from error
