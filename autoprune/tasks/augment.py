"""Random changes of whole image batches, vectorised and drawn from a given generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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
