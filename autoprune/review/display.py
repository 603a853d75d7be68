"""The terminal display of a running search, as a function of its state and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoprune.review.plot import Point, draw
from autoprune.review.text import whole_seconds
from autoprune.utils.console import cell
from autoprune.utils.printable import printable

_BAR_WIDTH, _BESIDE_BAR = 32, 58
"""Maximum width of the bar, and the width of the text next to it."""
_PLOT_WIDTH, _PLOT_HEIGHT = 60, 8
_FRAME = 8
"""Lines of the display outside the plot area, with some margin."""
_ENOUGH_POINTS = 2
_PHASE_WIDTH = 12
"""Width of the names of finished phases, which aligns their times."""


@dataclass(frozen=True)
class Plot:
    """A front to draw: its points, how qualities are written, and the name of the cost."""

    points: tuple[Point, ...]
    show: Callable[[float], str]
    cost: str


@dataclass(frozen=True)
class Progress:
    """State of a running search.

    Attributes:
        started: when the phase started, on the monotonic clock.
        phase: its name.
        detail: its current activity.
        fraction: its progress (0 to 1), None if unknown.
        trial: the running trial, empty between trials.
        trial_started: when it started.
        finished: number of finished trials.
        before: number of trials finished before the phase started.
        total: number of trials to run, None if only time limits the search.
        seconds_left: remaining time budget at ``counted``, None without one.
        counted: when ``finished`` was counted.
        result: the best trial and the front so far.
        plot: the front so far, None if nothing was scored yet.
    """

    started: float
    phase: str = ""
    detail: str = ""
    fraction: float | None = None
    trial: str = ""
    trial_started: float = 0.0
    finished: int | None = None
    before: int = 0
    total: int | None = None
    seconds_left: float | None = None
    counted: float = 0.0
    result: str = ""
    plot: Plot | None = None


def render(
    state: Progress, now: float, *, width: int = 80, height: int = 24, unicode: bool = True
) -> RenderableType:
    """The display at time ``now``: phase and bar, the running trial, the result so far, and the front.

    Args:
        state: what to show.
        now: on the monotonic clock.
        width: characters in a line.
        height: lines of the terminal; in a short one the front is not drawn.
        unicode: whether the terminal supports Unicode.
    """
    if not state.phase:
        return Text()
    head = Table.grid(padding=(0, 2))
    fraction = _fraction(state, now)
    cells: list[RenderableType] = [cell(state.phase, "bold")]
    if fraction is not None:
        cells.append(ProgressBar(total=1.0, completed=fraction, width=_bar_width(width)))
    done = ", ".join(text for text in (_count(state), _rate(state, now)) if text)
    cells += [_line(text) for text in (done, _left(state, now)) if text]
    head.add_row(*cells)
    running = f"{state.trial}  {whole_seconds(now - state.trial_started)}" if state.trial else state.detail
    lines: list[RenderableType] = [_line(f"  {text}") for text in (running, state.result) if text]
    return Group(head, *lines, *_front(state.plot, width, height, unicode=unicode))


def _front(plot: Plot | None, width: int, height: int, *, unicode: bool) -> list[RenderableType]:
    if plot is None or len(plot.points) < _ENOUGH_POINTS or height < _PLOT_HEIGHT + _FRAME:
        return []
    lines = draw(
        plot.points,
        plot.show,
        plot.cost,
        width=min(width - 4, _PLOT_WIDTH),
        height=_PLOT_HEIGHT,
        unicode=unicode,
    )
    return [Padding(Group(*lines), (1, 0, 0, 2))]


def ended(state: Progress, now: float, *, stopped: bool = False) -> str:
    """One line for a phase that finished or was ``stopped``: its time, its trials and its throughput."""
    parts = [whole_seconds(now - state.started), _count(state), throughput(state, now)]
    parts.append("stopped" if stopped else "")
    return f"{state.phase + ':':<{_PHASE_WIDTH}} {', '.join(part for part in parts if part)}"


def throughput(state: Progress, now: float) -> str:
    """Trials per minute, or per hour if slower; empty before the second one."""
    number, _, unit = _rate(state, now).partition(" ")
    return f"{number} trials {unit}" if number else ""


def _rate(state: Progress, now: float) -> str:
    rate = _trials_a_second(state, now)
    if rate is None:
        return ""
    return f"{rate * 60:.3g} a minute" if rate * 60 >= 1 else f"{rate * 3600:.2g} an hour"


def _bar_width(width: int) -> int:
    return max(8, min(_BAR_WIDTH, width - _BESIDE_BAR))


def _trials_a_second(state: Progress, now: float) -> float | None:
    done = (state.finished or 0) - state.before
    elapsed = (state.counted or now) - state.started
    return done / elapsed if done >= _ENOUGH_POINTS and elapsed > 0 else None


def seconds_left(state: Progress, now: float) -> tuple[float | None, bool]:
    """Seconds to the end of the search, and whether that is an estimate from the trials so far."""
    budget = None if state.seconds_left is None else max(0.0, state.seconds_left - (now - state.counted))
    rate = _trials_a_second(state, now)
    if state.total is None or state.finished is None or rate is None:
        return budget, False
    expected = max(0.0, (state.total - state.finished) / rate - (now - state.counted))
    return (budget, False) if budget is not None and budget <= expected else (expected, True)


def _fraction(state: Progress, now: float) -> float | None:
    if state.total is not None and state.finished is not None:
        return min(1.0, state.finished / max(1, state.total))
    left, _ = seconds_left(state, now)
    if left is not None:
        elapsed = now - state.started
        return elapsed / max(elapsed + left, 1e-9)
    return state.fraction


def _count(state: Progress) -> str:
    if state.finished is None:
        return ""
    return f"{state.finished} trials" if state.total is None else f"{state.finished}/{state.total} trials"


def _left(state: Progress, now: float) -> str:
    left, estimated = seconds_left(state, now)
    if left is None:
        return whole_seconds(now - state.started)
    return f"{'about ' if estimated else ''}{whole_seconds(left)} left"


def _line(text: str) -> Text:
    return Text(printable(text), no_wrap=True, overflow="ellipsis")
