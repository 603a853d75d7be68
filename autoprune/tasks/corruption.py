"""Input noise, to measure how robust a model is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from autoprune.errors import DataError
from autoprune.tasks.data import Split
from autoprune.utils.suggest import did_you_mean

Noise = Literal["gaussian", "salt-and-pepper"]
"""``gaussian``: added to every entry. ``salt-and-pepper``: sets positions to the sample's minimum or maximum,
all channels of an image at once."""
ALIASES = {"salt-pepper": "salt-and-pepper"}
"""Short names of noise."""


@dataclass(frozen=True)
class Corruption:
    """A kind of noise and its strength.

    Attributes:
        noise: the kind.
        strength: of Gaussian noise the standard deviation, in the units of the model's inputs; of salt
            and pepper the share of the positions, half of them each.
    """

    noise: Noise
    strength: float

    def __post_init__(self) -> None:
        if self.noise not in get_args(Noise):
            hint = did_you_mean(self.noise, get_args(Noise), ":")
            raise DataError(f"unknown noise {self.noise!r}{hint} use {' or '.join(get_args(Noise))}")
        most = 1 if self.noise == "salt-and-pepper" else float("inf")
        if not (0 < self.strength <= most and self.strength < float("inf")):
            raise DataError(
                f"{self.noise} noise of strength {self.strength:g}: give a number above 0"
                + (" and at most 1" if most == 1 else "")
            )

    def __str__(self) -> str:
        return f"{self.noise}:{self.strength:g}"

    def applied(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy inputs ``[N, ...]``, all randomness from the generator (on the CPU).

        Raises DataError for inputs that are no floating-point numbers.
        """
        if not inputs.is_floating_point():
            raise DataError(f"{self.noise} noise needs floating-point inputs, these are {inputs.dtype}")
        if self.noise == "gaussian":
            added = torch.randn(inputs.shape, generator=generator)
            return inputs + self.strength * added.to(inputs)
        # Images have an axis of channels, which share the noise of a position.
        shape = (len(inputs), 1, *inputs.shape[2:]) if inputs.dim() > 3 else inputs.shape
        drawn = torch.rand(shape, generator=generator).to(inputs.device)
        low, high = (
            extreme(inputs.flatten(1), dim=1).reshape(-1, *[1] * (inputs.dim() - 1))
            for extreme in (torch.amin, torch.amax)
        )
        noisy = torch.where(drawn < self.strength / 2, low, inputs)
        return torch.where(drawn >= 1 - self.strength / 2, high, noisy)


def parse_corruption(text: str) -> Corruption:
    """``gaussian:0.1`` or ``salt-and-pepper:0.05``. Raises DataError that says what is wrong with it."""
    noise, _, strength = text.partition(":")
    noise = ALIASES.get(noise, noise)
    try:
        number = float(strength)
    except ValueError:
        raise DataError(f"noise {text!r} cannot be read: write gaussian:0.1") from None
    return Corruption(noise, number)  # type: ignore[arg-type]  # checked on construction


@dataclass(frozen=True, eq=False)
class CorruptedSplit:
    """A split with input noise, the same on every pass with the same batch size.

    Attributes:
        split: the samples.
        corruption: the noise.
        seed: of it.
    """

    split: Split
    corruption: Corruption
    seed: int = 0

    def __len__(self) -> int:
        return len(self.split)

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`autoprune.tasks.data.Split`."""
        generator = torch.Generator().manual_seed(self.seed)
        for inputs, targets in self.split.batches(batch_size, shuffle=shuffle):
            yield self.corruption.applied(inputs, generator), targets
