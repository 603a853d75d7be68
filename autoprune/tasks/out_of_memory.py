"""Detect out-of-memory errors."""

from __future__ import annotations

import torch

_SAYS = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Messages of plain RuntimeErrors from PyTorch's CPU allocator and from CUDA's libraries."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or its cause, is a failed allocation on the CPU or a GPU."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _SAYS):
            return True
        error = error.__cause__
    return False
