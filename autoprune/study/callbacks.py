"""Functions that are called after every trial of a search, as in Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial

from autoprune.study.attributes import attributes_of
from autoprune.study.listener import Count, Listener

Callback = Callable[[optuna.Study, FrozenTrial], None]
"""The callback type of ``optuna.study.Study.optimize``."""


class WithCallbacks(Listener):
    """Forwards all events to another listener, and calls functions in order after each trial.

    They are not called for suggestions that repeat an earlier plan. An exception in them ends the search.
    """

    def __init__(self, listener: Listener, callbacks: Sequence[Callback]) -> None:
        self._listener, self._callbacks = listener, tuple(callbacks)

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.__exit__(kind, error, trace)

    def phase(self, name: str, detail: str = "") -> None:
        """A phase starts, which ends the previous one."""
        self._listener.phase(name, detail)

    def progress(self, fraction: float, detail: str = "") -> None:
        """Progress of the phase as a ``fraction`` (0 to 1)."""
        self._listener.progress(fraction, detail)

    def note(self, text: str) -> None:
        """A message for the user."""
        self._listener.note(text)

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        """A trial starts; `count` excludes it."""
        self._listener.trial_started(number, origin, count)

    def trial_finished(self, study: optuna.Study, trial: FrozenTrial, count: Count) -> None:
        """A trial is finished; `count` includes it."""
        self._listener.trial_finished(study, trial, count)
        if attributes_of(trial).duplicate_of is None:
            for call in self._callbacks:
                call(study, trial)
