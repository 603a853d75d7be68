"""How a running search looks in a terminal, as a function of its state and the time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoprune.review.text import whole_seconds

_BAR_WIDTH = 32


@dataclass(frozen=True)
class Progress:
    """State of a running search.

    Attributes:
        started: when the phase began, on the monotonic clock.
        phase: its name.
        detail: what it does at the moment.
        fraction: how far it is (0 to 1), None when unknown.
        trial: the running trial, empty between trials.
        trial_started: when it began.
        finished: trials that are done.
        total: trials to do, None when only time limits the search.
        seconds_left: an estimate made at ``estimated``, None when unknown.
        estimated: when ``seconds_left`` was estimated.
        result: the best trial and the front so far.
    """

    started: float
    phase: str = ""
    detail: str = ""
    fraction: float | None = None
    trial: str = ""
    trial_started: float = 0.0
    finished: int | None = None
    total: int | None = None
    seconds_left: float | None = None
    estimated: float = 0.0
    result: str = ""


def render(state: Progress, now: float) -> RenderableType:
    """The display at time ``now``: phase and bar, the running trial, the result so far."""
    head = Table.grid(padding=(0, 2))
    fraction = _fraction(state, now)
    cells: list[RenderableType] = [Text(state.phase, style="bold")]
    if fraction is not None:
        cells.append(ProgressBar(total=1.0, completed=fraction, width=_BAR_WIDTH))
    cells += [_line(text) for text in (_count(state), _left(state, now)) if text]
    head.add_row(*cells)
    running = f"{state.trial}  {whole_seconds(now - state.trial_started)}" if state.trial else state.detail
    lines = [_line(f"  {text}") for text in (running, state.result) if text]
    return Group(head, *lines) if state.phase else Text()


def ended(state: Progress, now: float, *, stopped: bool = False) -> str:
    """One line for a phase that is over, or was ``stopped``."""
    parts = [whole_seconds(now - state.started), _count(state), "stopped" if stopped else ""]
    return f"{state.phase}: {', '.join(part for part in parts if part)}"


def _fraction(state: Progress, now: float) -> float | None:
    if state.total is not None and state.finished is not None:
        return min(1.0, state.finished / max(1, state.total))
    left = _seconds_left(state, now)
    if left is not None:
        elapsed = now - state.started
        return elapsed / max(elapsed + left, 1e-9)
    return state.fraction


def _seconds_left(state: Progress, now: float) -> float | None:
    if state.seconds_left is None:
        return None
    return max(0.0, state.seconds_left - (now - state.estimated))


def _count(state: Progress) -> str:
    if state.finished is None:
        return ""
    return f"{state.finished} trials" if state.total is None else f"{state.finished}/{state.total} trials"


def _left(state: Progress, now: float) -> str:
    left = _seconds_left(state, now)
    if left is None:
        return whole_seconds(now - state.started)
    return f"{whole_seconds(left)} left"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
