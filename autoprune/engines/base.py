"""What starts the workers of a search and looks after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

STOP_SECONDS = 3.5
"""For a worker that is asked to stop, until it is killed."""


@dataclass(frozen=True)
class End:
    """How a worker ended.

    Attributes:
        worker: its name.
        why: in words; empty where the search was over for it.
        lost: whether it was killed, by itself or with its machine, rather than stopped by a mistake.
        again: whether another one takes its place.
    """

    worker: str
    why: str = ""
    lost: bool = False
    again: bool = False


class Engine(Protocol):
    """Starts workers somewhere, reports which of them have ended, and stops them."""

    def start(self) -> str:
        """Start all workers; returns what each of them has, in words."""

    @property
    def left(self) -> int:
        """Workers that have not ended, those included that still wait for room."""

    def ended(self) -> list[End]:
        """Those that ended since the last time."""

    def stop(self) -> None:
        """End all workers, within :data:`STOP_SECONDS` in good order, then by force."""
