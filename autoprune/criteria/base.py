"""What a criterion is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from autoprune.structure.groups import Structure

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Starts one pass over the calibration data: pairs of model input and target."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scalar loss of the model's output and the target, averaged over the batch."""


@dataclass(frozen=True, eq=False)
class Context:
    """What importance may be judged by. A criterion leaves all of it as it was.

    Attributes:
        model: the uncut model.
        structure: its groups.
        batches: calibration data, the same on every call; None when there is none.
        loss: the task's loss; None when there is none.
        seed: seed of everything random.
    """

    model: nn.Module
    structure: Structure
    batches: Batches | None = None
    loss: Loss | None = None
    seed: int = 0


class Criterion(Protocol):
    """Judges how important each unit is."""

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Group name -> float64 tensor ``[width]``; the larger, the more important is the unit."""
        ...
