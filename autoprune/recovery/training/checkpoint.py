"""A training run on disk, so that a long one goes on where it was stopped.

Nothing is ever unpickled into code.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import DiskError
from autoprune.tasks.checkpoints.archive import load_archive
from autoprune.utils.atomic_files import replace_file, why_not_written

EVERY_SECONDS, MOST_SHARE = 10.0, 0.05
"""Seconds between two checkpoints, more where writing them takes over this share of the time."""


@dataclass(eq=False)
class Checkpoint:
    """A file with the state of one run.

    Attributes:
        path: the file; it appears whole or not at all.
        key: what makes this run another than the next; a file with another key is not used.
    """

    path: Path
    key: str
    _written: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def read(self) -> Mapping[str, Any] | None:
        """The state that was written last; None when there is none, it is damaged, or of another run."""
        if not self.path.is_file():
            return None
        try:
            state = load_archive(self.path)
        except Exception:  # a damaged file fails anywhere in the reader; the run then starts again
            return None
        return state if isinstance(state, dict) and state.get("key") == self.key else None

    @property
    def is_due(self) -> bool:
        """Whether the last one is long enough ago."""
        return time.monotonic() - self._written > max(EVERY_SECONDS, self._cost / MOST_SHARE)

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file in one step. Raises DiskError when that cannot be done."""
        begun = time.monotonic()
        buffer = io.BytesIO()
        torch.save({**state, "key": self.key}, buffer)
        try:
            replace_file(self.path, buffer.getvalue())
        except OSError as error:
            raise DiskError(f"cannot write {self.path} {why_not_written(error)}") from error
        self._written = time.monotonic()
        self._cost = self._written - begun

    def remove(self) -> None:
        """The run is over and its result is elsewhere."""
        self.path.unlink(missing_ok=True)
