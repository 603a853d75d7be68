"""What may take part in training beside loss and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Companion(Protocol):
    """Is called around every step of a training run."""

    def before(self, step: int) -> None:
        """Before the forward pass of a step, counted from 1."""

    def differentiated(self, step: int) -> None:
        """When the gradients are there and the optimiser has not used them."""

    def updated(self, step: int) -> None:
        """After the optimiser."""

    def state(self) -> Mapping[str, Any]:
        """What a run that goes on needs, in tensors and plain values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
