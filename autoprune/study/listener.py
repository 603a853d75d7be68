"""Events of a search; this base class ignores all of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Count:
    """Progress of a search.

    Attributes:
        finished: number of finished trials that count towards the budget.
        total: the trial budget; None if only time limits the search.
        seconds_left: remaining time budget; None without one.
    """

    finished: int
    total: int | None
    seconds_left: float | None


class Listener:
    """Receives the events of a search; a context manager around it.

    Subclasses override the methods of the events that they want; what a method raises ends the search.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> class Phases(autoprune.Listener):
        ...     def phase(self, name, detail=""):
        ...         print(name)
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> _ = autoprune.inspect(
        ...     network, example_inputs=torch.randn(1, 20), latency=False, listener=Phases()
        ... )
        structure
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def phase(self, name: str, detail: str = "") -> None:
        """A phase starts, which ends the previous one."""

    def progress(self, fraction: float, detail: str = "") -> None:
        """Progress of the phase as a ``fraction`` (0 to 1)."""

    def note(self, text: str) -> None:
        """A message for the user."""

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        """A trial starts; `count` excludes it."""

    def trial_finished(self, study: optuna.Study, trial: FrozenTrial, count: Count) -> None:
        """A trial is finished; `count` includes it."""
