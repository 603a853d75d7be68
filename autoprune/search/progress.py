"""What a search tells whoever watches it."""

from __future__ import annotations

from typing import Protocol

import optuna


class Listener(Protocol):
    """Receives the events of a search. Durations are seconds; `None` means unknown or without limit."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins: baseline, structure, ranking, search or final test."""

    def progress(self, fraction: float, detail: str) -> None:
        """How much of the present phase is done, from 0 to 1."""

    def note(self, text: str) -> None:
        """Something worth a line, such as that an earlier study is continued."""

    def trial_started(
        self, number: int, origin: str, finished: int, total: int | None, seconds_left: float | None
    ) -> None:
        """A trial begins."""

    def trial_finished(
        self,
        study: optuna.Study,
        number: int,
        state: str,
        quality: float | None,
        flops_ratio: float | None,
        reason: str | None,
        finished: int,
        total: int | None,
        seconds_left: float | None,
    ) -> None:
        """A trial is recorded; `state` is Optuna's, `reason` says why it has no quality."""
