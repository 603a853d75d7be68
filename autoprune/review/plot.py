"""A small Pareto plot as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import optuna
from rich.text import Text

from autoprune.review.text import share_text
from autoprune.study.attributes import attributes_of, trials_of
from autoprune.study.front import Summary, front_trials
from autoprune.study.states import SCORED, state_of


class Kind(IntEnum):
    """What a point is; where two overlap, the larger value is drawn."""

    OTHER = 0
    FRONT = 1
    ORIGINAL = 2
    BEST = 3


@dataclass(frozen=True)
class PointStyle:
    """How a point is drawn: with Unicode, with ASCII only, and in which colour."""

    mark: str
    plain: str
    style: str
    name: str


LOOKS = {
    Kind.FRONT: PointStyle("●", "o", "cyan", "front"),
    Kind.BEST: PointStyle("◉", "@", "bold green", "best"),
    Kind.OTHER: PointStyle("·", ".", "dim", "other"),
    Kind.ORIGINAL: PointStyle("◆", "#", "yellow", "original"),
}
_FAR = 0.5
"""Other trials are drawn up to this share of the front's quality range away from it."""
_FRAME = {"tick": ("┤", "|"), "side": ("│", "|"), "corner": ("└", "+"), "floor": ("─", "-")}


@dataclass(frozen=True)
class Point:
    """A model: the share of the original model's cost that it keeps, its quality, and what it is."""

    x: float
    y: float
    kind: Kind


def points_of(study: optuna.Study, summary: Summary) -> tuple[Point, ...]:
    """The original model and the trials whose quality was measured, each plan once.

    Costs are shares of FLOPs, or of non-zero parameters where weights are masked.
    """
    share = "nonzero_ratio" if summary.granularity else "flops_ratio"
    chosen = {trial.number for trial in front_trials(study)}
    known = [
        trial
        for trial in trials_of(study)
        if state_of(trial) in SCORED and attributes_of(trial).plan != "original"
    ]
    shares = [(attributes_of(trial).known([share]).get(share), trial) for trial in known]
    cut = [
        Point(kept, trial.values[0], _kind(trial.number, summary, chosen))
        for kept, trial in shares
        if kept is not None
    ]
    return *cut, Point(1.0, summary.baseline.quality, Kind.ORIGINAL)


def _kind(number: int, summary: Summary, chosen: set[int]) -> Kind:
    if number == summary.best:
        return Kind.BEST
    return Kind.FRONT if number in chosen else Kind.OTHER


def draw(
    points: Sequence[Point],
    show: Callable[[float], str],
    cost: str,
    *,
    width: int,
    height: int = 8,
    unicode: bool = True,
) -> list[Text]:
    """The plot, one line an element: quality upwards, cost to the right, and a legend.

    Args:
        points: at least one.
        show: writes a quality.
        cost: name of the horizontal axis.
        width: characters in a line.
        height: lines of the area with the points.
        unicode: whether the terminal supports Unicode.
    """
    points = _near_front(points)
    low, high = _range([point.y for point in points])
    left, right = _range([point.x for point in points])
    labels = {0: show(high), height - 1: show(low)}
    margin = max(map(len, labels.values()))
    columns = max(8, width - margin - 3)
    grid: dict[tuple[int, int], Kind] = {}
    for point in points:
        place = (
            round((high - point.y) / (high - low) * (height - 1)),
            round((point.x - left) / (right - left) * (columns - 1)),
        )
        grid[place] = max(point.kind, grid.get(place, Kind.OTHER))
    frame = {name: pair[0 if unicode else 1] for name, pair in _FRAME.items()}
    lines = [
        _row(row, labels.get(row, ""), margin, columns, grid, frame, unicode=unicode) for row in range(height)
    ]
    pad = " " * (margin + 1)
    ends = share_text(left), cost, share_text(right)
    floor = Text(f"{pad}{frame['corner']}{frame['floor'] * columns}", style="dim")
    return [
        *lines,
        floor,
        Text(f"{pad} {_spread(ends, columns)}", style="dim"),
        _legend(points, pad, unicode),
    ]


def _near_front(points: Sequence[Point]) -> list[Point]:
    """Drop other trials so far away that they would flatten the front."""
    low, high = _range(
        [point.y for point in points if point.kind is not Kind.OTHER] or [point.y for point in points]
    )
    near = (high - low) * _FAR
    return [p for p in points if p.kind is not Kind.OTHER or low - near <= p.y <= high + near]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest value; a little apart if they are equal."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.005, high + 0.005)


def _row(
    row: int,
    label: str,
    margin: int,
    columns: int,
    grid: dict[tuple[int, int], Kind],
    frame: dict[str, str],
    *,
    unicode: bool,
) -> Text:
    line = Text(f"{label:>{margin}} {frame['tick' if label else 'side']}", style="dim")
    for column in range(columns):
        kind = grid.get((row, column))
        if kind is None:
            line.append(" ")
        else:
            look = LOOKS[kind]
            line.append(look.mark if unicode else look.plain, style=f"not dim {look.style}")
    line.rstrip()
    return line


def _spread(texts: tuple[str, str, str], columns: int) -> str:
    """The texts at the left end, in the middle and at the right end."""
    left, middle, right = texts
    gap = columns - len(left) - len(right)
    return f"{left}{middle:^{gap}}{right}" if gap > len(middle) else f"{left} {right}"


def _legend(points: Sequence[Point], pad: str, unicode: bool) -> Text:
    line, present = Text(f"{pad} "), {point.kind for point in points}
    for kind, look in LOOKS.items():
        if kind in present:
            line.append(look.mark if unicode else look.plain, style=look.style)
            line.append(f" {look.name}  ", style="dim")
    return line
