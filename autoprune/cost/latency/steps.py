"""Latency against width: measured at few points, more closely where it jumps."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

import numpy as np

FIRST, MOST = 8, 24
"""Steps between the widths that are timed first, and the most widths that are timed at all."""
STEEP = 1.2
"""Times the mean slope above which two neighbours have a cliff between them."""
OFF = 0.2
"""Part of a curve's rise by which a point may be off the line between its neighbours before it is doubted."""
WORTH = 1 / 32
"""Part of a curve's rise that a narrower width has to save to be worth having."""
SUDDEN = 2.0
"""Times the mean slope by which a width may be slower than the next narrower one that is worth having."""
TELLING = 4.0
"""A point off a line by less than so many errors is not doubted."""

Points = dict[int, tuple[float, float]]
"""Width -> ratio, and the half-width of its interval."""


@dataclass(frozen=True)
class LatencySteps:
    """Latency against the width of one group, while all others are whole.

    Attributes:
        widths: ascending; the last one is the full width.
        ratios: latency at each width, relative to the original model's.
        error: median half-width of the 95 % intervals of the ratios.
    """

    widths: tuple[int, ...]
    ratios: tuple[float, ...]
    error: float

    def at(self, width: int) -> float:
        """Latency at any width, relative to the original model's, on straight lines between the points."""
        return float(np.interp(width, self.widths, self.ratios))


def top_edges(widths: Sequence[int], ratios: Sequence[float]) -> tuple[int, ...]:
    """Of ascending widths, those that are worth having, the last one always.

    No wider one is as fast: they are the top edges of the steps. And none is just past a step, where a few
    units more than the edge below cost a great deal; below a tenth of the full width, where hardly a plan
    goes, none is left out for that.
    """
    rise = max(ratios) - min(ratios)
    edges, fastest = [(widths[-1], ratios[-1])], ratios[-1]
    for width, ratio in zip(widths[-2::-1], ratios[-2::-1], strict=True):
        if ratio < fastest - WORTH * rise:
            edges.append((width, ratio))
            fastest = ratio
    edges.reverse()
    narrow = [width for width, _ in edges if 10 * width < widths[-1]]
    first, *usual = edges[len(narrow) :]
    kept = [first]
    for width, ratio in usual:
        steady = (ratios[-1] - first[1]) / (widths[-1] - first[0]) * (width - kept[-1][0])
        if width == widths[-1] or ratio <= kept[-1][1] + SUDDEN * steady:
            kept.append((width, ratio))
    return (*narrow, *(width for width, _ in kept))


def find_steps(time: Callable[[int], tuple[float, float] | None], full: int, least: int = 1) -> LatencySteps:
    """Time one group at few widths, and by bisection find where the cliffs between them are.

    A point far off the line between its neighbours is timed twice more, and the median of the three counts:
    it is an edge, or something else on the machine came between.

    Args:
        time: gives the ratio to the original model's latency at a width, and the half-width of its interval;
            None where the model does not run at that width, which is left out.
        full: the original width, whose ratio is 1.
        least: the narrowest width to time.
    """
    tried = {width: time(width) for width in first_widths(full, least) if width != full}
    points = {full: (1.0, 0.0)} | {width: point for width, point in tried.items() if point is not None}
    confirmed = {full}
    while True:
        doubtful = _farthest_off(points, confirmed)
        if doubtful is not None:
            again = [point for point in (time(doubtful), time(doubtful)) if point is not None]
            points[doubtful] = median_low([points[doubtful], *again])
            confirmed.add(doubtful)
            continue
        has_room = len(tried) < MOST - 1  # the full width is not timed, but counts
        middle = _steepest(points, tried, max(1, full // 128)) if has_room else None
        if middle is None:
            break
        tried[middle] = point = time(middle)
        if point is not None:
            points[middle] = point
    widths = tuple(sorted(points))
    errors = [error for width, (_, error) in points.items() if width != full]
    return LatencySteps(widths, tuple(points[w][0] for w in widths), float(np.median(errors or [0.0])))


def first_widths(full: int, least: int) -> list[int]:
    """Multiples of a power of two, at which kernels are fastest, the least and the full width."""
    step = 1
    while step * FIRST < full:
        step *= 2
    return sorted({least, full, *range(step, full, step)} - set(range(least)))


def _farthest_off(points: Points, confirmed: set[int]) -> int | None:
    """The unconfirmed width that is farthest from the line between its neighbours; None where none is far."""
    widths = sorted(points)
    ratios = np.array([points[width][0] for width in widths])
    least = max(OFF * float(np.ptp(ratios)), TELLING * float(np.median([e for _, e in points.values()])))
    found, farthest = None, least
    for place in range(1, len(widths) - 1):
        left, width, right = widths[place - 1 : place + 2]
        line = np.interp(width, (left, right), (ratios[place - 1], ratios[place + 1]))
        if width not in confirmed and abs(ratios[place] - line) > farthest:
            found, farthest = width, float(abs(ratios[place] - line))
    return found


def _steepest(points: Points, tried: Container[int], resolution: int) -> int | None:
    """The untried width in the middle of the highest cliff between two neighbours; None if there is none."""
    widths = sorted(points)
    ratios = [points[width][0] for width in widths]
    slope = (max(ratios) - min(ratios)) / max(widths[-1] - widths[0], 1)
    found, highest = None, 0.0
    for left, right in pairwise(widths):
        jump = abs(points[right][0] - points[left][0])
        noise = points[left][1] + points[right][1]
        steep = right - left > resolution and jump > max(highest, noise, STEEP * slope * (right - left))
        middle = (left + right) // 2
        if steep and middle not in tried:
            found, highest = middle, jump
    return found
