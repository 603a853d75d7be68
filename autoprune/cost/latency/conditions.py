"""The conditions under which models are timed, and put back to what they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this number of threads within an operator, and the old number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def eval_mode(models: Sequence[nn.Module]) -> Iterator[None]:
    """Put the models into eval mode, and every module back into its own mode afterwards."""
    before = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
