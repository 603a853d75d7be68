"""Random changes of whole image batches, vectorised and drawn from a given generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from autoprune.errors import DataError
from autoprune.tasks.data import Data, DatasetSplit, TensorSplit

AugmentName = Literal["data", "none", "shift", "shift-flip"]
SHIFT = 1 / 8
"""Maximum shift of images, as a share of their height."""


def random_crop(images: Tensor, padding: int, generator: torch.Generator, fill: float = 0.0) -> Tensor:
    """Pad every image ``[N, C, H, W]`` on all sides and cut out a window ``H x W`` at a random place."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4, value=fill)
    offsets = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator)
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    samples = torch.arange(count)[:, None, None]
    cropped = padded[samples, :, rows[:, :, None], columns[:, None, :]]
    # With one channel the permuted strides already count as contiguous, and would make the whole network
    # run channels-last.
    return cropped.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image ``[N, C, H, W]`` left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True)
class CropFlip:
    """Random crop and horizontal flip of a batch, the usual augmentation of small images.

    Attributes:
        padding: pixels added on every side before the crop.
        flip: whether images are mirrored too.
        fill: value of the added pixels, in the units of the (standardised) input.
    """

    padding: int
    flip: bool = True
    fill: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return an augmented copy of ``images`` of the same shape ``[N, C, H, W]``."""
        cropped = random_crop(images, self.padding, generator, self.fill) if self.padding else images
        return random_flip(cropped, generator) if self.flip else cropped


def augmented(data: Data, name: AugmentName) -> Data:
    """The data with the named augmentation of its training inputs; ``data`` keeps the data set's own.

    Raises DataError for shifts of anything but images ``[N, C, H, W]``, and for a user's own loader, which
    does its own augmentation.
    """
    if name == "data":
        return data
    if not isinstance(data.train, TensorSplit | DatasetSplit):
        raise DataError(f"{data.name}: a DataLoader does its own augmentation: omit --augment")
    if name == "none":
        return replace(data, train=replace(data.train, augment=None))
    example = data.example()
    if example.ndim != 4 or not example.is_floating_point():
        shape = list(example.shape)
        raise DataError(f"--augment {name} is for images, not for inputs of shape {shape}: use data or none")
    shift = CropFlip(max(1, round(SHIFT * example.shape[2])), name == "shift-flip", float(example.min()))
    return replace(data, train=replace(data.train, augment=shift))
