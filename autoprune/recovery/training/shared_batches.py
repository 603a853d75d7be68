"""The batches that every candidate of a search is fine-tuned on, drawn once with the teacher's logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.recovery.training.precision import Precision
from autoprune.recovery.training.recipe import Recipe
from autoprune.recovery.training.resumable_batches import Stream
from autoprune.tasks.data import Split
from autoprune.tasks.evaluate import call, device_of, training_mode
from autoprune.tasks.layout import fast_layout

MOST_BYTES = 1 << 30
"""Batches that need more memory than this are drawn again for every candidate."""


@dataclass(frozen=True, eq=False)
class CachedBatch:
    """One batch: ``inputs [N, ...]``, ``targets [N, ...]``, and what the teacher says, if there is one."""

    inputs: Tensor
    targets: Tensor
    teacher_logits: Tensor | None

    def in_pieces(self, count: int) -> Iterator[CachedBatch]:
        """The batch as so many smaller ones, as alike in size as can be; fewer if it has few samples.

        None is of one sample if the batch has more, for BatchNorm may not train on it.
        """
        for rows in torch.arange(len(self.inputs)).tensor_split(min(count, max(1, len(self.inputs) // 2))):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            logits = None if self.teacher_logits is None else self.teacher_logits[part]
            yield CachedBatch(self.inputs[part], self.targets[part], logits)


def cache_batches(
    split: Split, recipe: Recipe, seed: int, teacher: nn.Module | None, device: torch.device
) -> Sequence[CachedBatch] | None:
    """The augmented batches of a whole recovery, on the device; None where they take too much memory.

    All candidates see the same ones: what differs between them is not the luck of the draw. Saves each of
    them the augmentation and, with distillation from outputs alone, the teacher's forward passes.
    """
    cached: list[CachedBatch] = []
    with _asking(teacher, recipe) as answers:
        for inputs, targets in Stream(split, recipe.batch_size, seed):
            if not cached and recipe.steps * (inputs.nbytes + targets.nbytes) > MOST_BYTES:
                return None
            inputs, targets = inputs.to(device), targets.to(device)
            cached.append(CachedBatch(inputs, targets, answers(inputs)))
            if len(cached) == recipe.steps:
                break
    return cached


@contextmanager
def _asking(teacher: nn.Module | None, recipe: Recipe) -> Iterator[Callable[[Tensor], Tensor | None]]:
    """Gives what a teacher says of a batch, in the precision in which it is asked during training."""
    if teacher is None:
        yield lambda inputs: None
        return
    precision = Precision(recipe.precision, teacher)

    with fast_layout(teacher, recipe.steps) as settle:

        def answers(inputs: Tensor) -> Tensor | None:
            settle(inputs)
            with precision.forward():
                return teacher_logits(teacher, inputs)

        yield answers


def teacher_logits(teacher: nn.Module | None, inputs: Tensor) -> Tensor | None:
    """The teacher's outputs in evaluation mode, on the inputs' device; None without a teacher."""
    if teacher is None:
        return None
    with training_mode(teacher, False), torch.no_grad():
        return call(teacher, inputs.to(device_of(teacher)))
