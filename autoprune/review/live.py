"""What a running search shows: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.live import Live

from autoprune.review.display import Progress, ended, render
from autoprune.review.front import best, summary
from autoprune.review.text import quality_text, share_text, whole_seconds

# Few frames a second: drawing shares the processor with the timing of candidates.
_FRAMES_PER_SECOND = 2


class QuietView:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is over."""

    def progress(self, fraction: float, detail: str = "") -> None:
        """The phase is done to ``fraction`` (0 to 1)."""

    def trial_started(
        self, number: int, origin: str, finished: int, total: int | None, seconds_left: float | None
    ) -> None:
        """A trial begins; ``finished`` of ``total`` are done (None: only time limits the search)."""

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
        """A trial is told; ``state`` is the name of Optuna's trial state."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class LiveView(QuietView):
    """Shows a search on standard error, as a context manager around it.

    In a terminal: the phase, a progress bar, time left, the best trial within the budget and the size of
    the front; finished phases and failed trials stay above. Elsewhere: a line a phase and a line a trial.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._state = Progress(started=monotonic())
        self._origins: dict[int, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=lambda: render(self._state, monotonic()),
                console=self._console,
                refresh_per_second=_FRAMES_PER_SECOND,
                transient=True,
                # Standard output that goes to a file must stay out of the display.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            if self._state.phase:
                self._print(ended(self._state, monotonic(), stopped=kind is not None))
            self._live = None

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins; the one before is over."""
        before = self._state
        self._state = Progress(started=monotonic(), phase=name, detail=detail, result=before.result)
        if self._live is None:
            self._print(f"{name}: {detail}" if detail else name)
        elif before.phase:
            self._print(ended(before, monotonic()))

    def progress(self, fraction: float, detail: str = "") -> None:
        """The phase is done to ``fraction`` (0 to 1); seen in a terminal only."""
        self._state = replace(self._state, fraction=fraction, detail=detail or self._state.detail)

    def trial_started(
        self, number: int, origin: str, finished: int, total: int | None, seconds_left: float | None
    ) -> None:
        """A trial begins; ``finished`` of ``total`` are done (None: only time limits the search)."""
        self._origins[number] = origin
        trial = f"trial {number} ({origin})"
        self._state = replace(self._state, trial=trial, trial_started=monotonic())
        self._count(finished, total, seconds_left)

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
        """A trial is told; ``state`` is the name of Optuna's trial state."""
        origin = self._origins.pop(number, "")
        trial = f"trial {number} ({origin})" if origin else f"trial {number}"
        outcome = _outcome(study, TrialState[state], quality, flops_ratio, reason)
        if self._live is None:
            count = f"{finished}" if total is None else f"{finished}/{total}"
            left = "" if seconds_left is None else f", {whole_seconds(seconds_left)} left"
            self._print(f"{count}  {trial}: {outcome}{left}")
            return
        if TrialState[state] is TrialState.FAIL:
            self._print(f"{trial}: {outcome}")
        self._state = replace(self._state, trial="", result=result_text(study))
        self._count(finished, total, seconds_left)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._print(text)

    def _count(self, finished: int, total: int | None, seconds_left: float | None) -> None:
        self._state = replace(
            self._state, finished=finished, total=total, seconds_left=seconds_left, estimated=monotonic()
        )

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def result_text(study: optuna.Study) -> str:
    """The best trial, the size of the front, and the trials that gave no candidate."""
    found = summary(study)
    parts = [f"front {found.front}"]
    if found.best is None:
        parts.insert(0, "no trial within the budget yet")
    else:
        trial = best(study)
        quality = quality_text(found.metric, trial.values[0])
        share = share_text(trial.values[1] / found.baseline.flops)
        parts.insert(0, f"best {quality} at {share} FLOPs (trial {trial.number})")
    words = {"PRUNED": "over budget", "FAIL": "failed"}
    parts += [f"{found.trials[state]} {word}" for state, word in words.items() if found.trials.get(state)]
    return ", ".join(parts)


def _outcome(
    study: optuna.Study,
    state: TrialState,
    quality: float | None,
    flops_ratio: float | None,
    reason: str | None,
) -> str:
    if state is TrialState.FAIL:
        return f"failed: {reason}" if reason else "failed"
    if state is TrialState.PRUNED:
        return reason or "over budget"
    parts = []
    if quality is not None:
        metric = str(study.user_attrs["autoprune"]["metric"])
        parts.append(f"{metric} {quality_text(metric, quality)}")
    if flops_ratio is not None:
        parts.append(f"{share_text(flops_ratio)} FLOPs")
    return " at ".join(parts) or state.name.lower()
