"""What a running search shows: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live

from autoprune.review.display import Progress, ended, render
from autoprune.review.estimates import STOPPED
from autoprune.review.front import best, summary
from autoprune.review.listener import Count, Listener
from autoprune.review.text import quality_text, share_text, whole_seconds

# Few frames a second: drawing shares the processor with the timing of candidates.
_FRAMES_PER_SECOND = 2


class LiveView(Listener):
    """Shows a search on standard error, as a context manager around it.

    In a terminal: the phase, a progress bar, time left, the best trial within the budget and the size of
    the front; finished phases and failed trials stay above. Elsewhere: a line a phase and a line a trial.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._state = Progress(started=monotonic())
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

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        """A trial begins; `count` is without it."""
        trial = f"trial {number} ({origin})"
        self._state = replace(self._state, trial=trial, trial_started=monotonic())
        self._count(count)

    def trial_finished(self, study: optuna.Study, trial: FrozenTrial, count: Count) -> None:
        """A trial is told; `count` includes it."""
        origin = trial.user_attrs.get("origin")
        name = f"trial {trial.number} ({origin})" if origin else f"trial {trial.number}"
        outcome = _outcome(study, trial)
        if "duplicate_of" in trial.user_attrs:
            self._state = replace(self._state, trial="")
            return
        if self._live is None:
            done = f"{count.finished}" if count.total is None else f"{count.finished}/{count.total}"
            left = "" if count.seconds_left is None else f", {whole_seconds(count.seconds_left)} left"
            self._print(f"{done}  {name}: {outcome}{left}")
            return
        if trial.state is TrialState.FAIL:
            self._print(f"{name}: {outcome}")
        self._state = replace(self._state, trial="", result=result_text(study))
        self._count(count)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._print(text)

    def _count(self, count: Count) -> None:
        self._state = replace(
            self._state,
            finished=count.finished,
            total=count.total,
            seconds_left=count.seconds_left,
            estimated=monotonic(),
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
        parts.insert(0, f"best {quality} at {_lowered(trial)} (trial {trial.number})")
    words = {"PRUNED": "over budget", "STOPPED": "given up early", "FAIL": "failed"}
    parts += [f"{found.trials[state]} {word}" for state, word in words.items() if found.trials.get(state)]
    return ", ".join(parts)


def _outcome(study: optuna.Study, trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    if trial.state is TrialState.FAIL:
        return f"failed: {attributes['reason']}" if "reason" in attributes else "failed"
    if trial.state is TrialState.PRUNED:
        return str(attributes.get("reason", "over budget"))
    if STOPPED in attributes:
        return str(attributes["reason"])
    parts = []
    if "quality" in attributes:
        metric = str(study.user_attrs["autoprune"]["metric"])
        parts.append(f"{metric} {quality_text(metric, attributes['quality'])}")
    if "flops_ratio" in attributes:
        parts.append(_lowered(trial))
    return " at ".join(parts) or trial.state.name.lower()


def _lowered(trial: FrozenTrial) -> str:
    """The share of the uncut model's FLOPs, or of a masked one's parameters, that a trial keeps."""
    if "nonzero_ratio" in trial.user_attrs:
        return f"{share_text(trial.user_attrs['nonzero_ratio'])} non-zero parameters"
    return f"{share_text(trial.user_attrs['flops_ratio'])} FLOPs"
