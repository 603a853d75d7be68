"""Batches that do not fit into memory are computed in pieces, smaller ones after each that did not fit."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

PIECES = "pieces"
"""Trial attribute: in how many pieces each batch was computed; missing where it was one."""
SMALLEST = 8
"""Samples of a piece below which there is nothing to gain, and BatchNorm has nothing to average."""


@dataclass
class MicroBatches:
    """In how many pieces one process computes batches of so many samples."""

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
