"""The view of a running search: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import Self

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, RenderableType
from rich.live import Live

from autoprune.review.display import Plot, Progress, ended, render
from autoprune.review.plot import points_of
from autoprune.review.stages import spent_text
from autoprune.review.text import quality_text, share_text, whole_seconds
from autoprune.study.attributes import attributes_of
from autoprune.study.front import Summary, best, summary
from autoprune.study.listener import Count, Listener
from autoprune.study.record import study_record
from autoprune.study.states import NO_CANDIDATE, is_unfinished, state_texts
from autoprune.utils.console import PlainConsole, cell

# Few frames a second: drawing shares the processor with the timing of candidates.
_FRAMES_PER_SECOND = 2


class LiveView(Listener):
    """Shows a search on standard error; a context manager.

    In a terminal: the phase, a progress bar, remaining time, the best trial within the budget and the front;
    finished phases and failed trials stay above. Elsewhere: lines for each phase and one for each trial.

    Args:
        console: where to print; default: standard error.
        verbose: print a line for every trial in a terminal too, with its stage times.
    """

    def __init__(self, console: Console | None = None, *, verbose: bool = False) -> None:
        self._console = console or PlainConsole(stderr=True)
        self._verbose = verbose
        self._state = Progress(started=monotonic())
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=_FRAMES_PER_SECOND,
                transient=True,
                # Standard output that is redirected to a file must not go to the display.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._state.phase:
            self._print(ended(self._state, monotonic(), stopped=kind is not None))

    def phase(self, name: str, detail: str = "") -> None:
        """A phase starts, which ends the previous one."""
        before = self._state
        self._state = Progress(
            started=monotonic(), phase=name, detail=detail, result=before.result, plot=before.plot
        )
        if before.phase:
            self._print(ended(before, monotonic()))
        if self._live is None:
            self._print(f"{name}: {detail}" if detail else name)

    def progress(self, fraction: float, detail: str = "") -> None:
        """Progress of the phase as a ``fraction`` (0 to 1); shown only in a terminal."""
        self._state = replace(self._state, fraction=fraction, detail=detail or self._state.detail)

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        """A trial starts; `count` excludes it."""
        trial = f"trial {number} ({origin})"
        before = count.finished if self._state.finished is None else self._state.before
        self._state = replace(self._state, trial=trial, trial_started=monotonic(), before=before)
        self._count(count)

    def trial_finished(self, study: optuna.Study, trial: FrozenTrial, count: Count) -> None:
        """A trial is finished; `count` includes it."""
        known = attributes_of(trial)
        origin = known.origin
        name = f"trial {trial.number} ({origin})" if origin else f"trial {trial.number}"
        if known.duplicate_of is not None:
            self._state = replace(self._state, trial="")
            return
        line = f"{name}: {_outcome(study, trial)}"
        if self._verbose and (spent := spent_text(trial)):
            line += f" [{spent}]"
        if self._live is None:
            done = f"{count.finished}" if count.total is None else f"{count.finished}/{count.total}"
            left = "" if count.seconds_left is None else f", {whole_seconds(count.seconds_left)} left"
            self._print(f"{done}  {line}{left}")
        elif self._verbose or trial.state is TrialState.FAIL:
            self._print(line)
        study_summary = summary(study)
        self._state = replace(
            self._state, trial="", result=result_text(study), plot=_plot(study, study_summary)
        )
        self._count(count)

    def note(self, text: str) -> None:
        """A message for the user."""
        self._print(text)

    def _count(self, count: Count) -> None:
        self._state = replace(
            self._state,
            finished=count.finished,
            total=count.total,
            seconds_left=count.seconds_left,
            counted=monotonic(),
        )

    def _render(self) -> RenderableType:
        size = self._console.size
        unicode = self._console.encoding.startswith("utf")
        return render(self._state, monotonic(), width=size.width, height=size.height, unicode=unicode)

    def _print(self, text: str) -> None:
        self._console.print(cell(text), soft_wrap=True)


def result_text(study: optuna.Study) -> str:
    """The best trial, the size of the front, and the trials without a candidate."""
    study_summary = summary(study)
    parts = [f"front {study_summary.front}"]
    if study_summary.best is None:
        parts.insert(0, "no trial within the budget yet")
    else:
        trial = best(study)
        quality = quality_text(study_summary.metric, trial.values[0])
        parts.insert(0, f"best {quality} at {_lowered(trial)} (trial {trial.number})")
    parts += state_texts(study_summary.trials, NO_CANDIDATE)
    return ", ".join(parts)


def _plot(study: optuna.Study, study_summary: Summary) -> Plot:
    cost = "non-zero parameters" if study_summary.granularity else "FLOPs"
    return Plot(
        points_of(study, study_summary), lambda quality: quality_text(study_summary.metric, quality), cost
    )


def _outcome(study: optuna.Study, trial: FrozenTrial) -> str:
    known = attributes_of(trial)
    if is_unfinished(trial):
        return f"not finished: {known.reason}"
    if trial.state is TrialState.FAIL:
        return "failed" if known.reason is None else f"failed: {known.reason}"
    if trial.state is TrialState.PRUNED:
        return known.reason or "over budget"
    if known.stopped_at is not None:
        return known.reason or "stopped early"
    parts = []
    if known.quality is not None:
        metric = str(study_record(study)["metric"])
        parts.append(f"{metric} {quality_text(metric, known.quality)}")
    if known.flops_ratio is not None:
        parts.append(_lowered(trial))
    return " at ".join(parts) or trial.state.name.lower()


def _lowered(trial: FrozenTrial) -> str:
    """The share of the original model's FLOPs, or of its parameters with masks, that a trial keeps."""
    known = attributes_of(trial)
    if known.nonzero_ratio is not None:
        return f"{share_text(known.nonzero_ratio)} non-zero parameters"
    return "" if known.flops_ratio is None else f"{share_text(known.flops_ratio)} FLOPs"
