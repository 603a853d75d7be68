"""Batches that do not fit into memory are computed in micro-batches, smaller after each that did not fit."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

SMALLEST = 8
"""Samples of a micro-batch below which there is nothing to gain, and BatchNorm has nothing to average."""


@dataclass
class MicroBatches:
    """In how many micro-batches one process computes batches of so many samples."""

    batch_size: int
    count: int = 1

    def more(self) -> bool:
        """Twice as many from now on; false where they would be too small. What can be freed is freed."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.batch_size < 2 * self.count * SMALLEST:
            return False
        self.count *= 2
        return True
