"""Batches without end, at a place that can be written down and found again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from autoprune.tasks.data import Split, no_batch


@dataclass(frozen=True)
class BatchPosition:
    """Where a stream is: the generator's state when the present pass began, and batches read of it."""

    generator: Tensor
    batches: int


class Stream:
    """One shuffled pass over a split after another.

    A data set that draws from torch's global generator is found again only at the start of a pass.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, place: BatchPosition | None = None) -> None:
        self._split, self._batch_size = split, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        if place is not None:
            self._generator.set_state(place.generator)
        self._skip = 0 if place is None else place.batches
        self.place = BatchPosition(self._generator.get_state(), self._skip)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go on from :attr:`place`. Raises DataError when the split yields no batch."""
        while True:
            begun, skip, self._skip = self._generator.get_state(), self._skip, 0
            read = skip
            for batch in islice(self._split.batches(self._batch_size, shuffle=self._generator), skip, None):
                read += 1
                self.place = BatchPosition(begun, read)
                yield batch
            if read == 0:
                raise no_batch("train")
