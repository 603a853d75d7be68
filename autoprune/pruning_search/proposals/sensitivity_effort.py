"""How thoroughly sensitivity is measured where the time of a search is short."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

SHARE = 0.25
"""Of the time that a search has, at most this much goes into sensitivity; the rest is for candidates."""
_TIMED_SAMPLES = (64, 256)
"""Samples on which the time of a loss is taken; the first one also loads what the first loss needs."""


@dataclass(frozen=True)
class Effort:
    """Measured widths of each group below its full one, and samples on which losses are taken."""

    points: int
    samples: int

    def losses(self, groups: int) -> int:
        """Losses to take: of each group at its measured widths and at its full one."""
        return groups * (self.points + 1)


FULL = Effort(points=4, samples=1024)
LESS = (Effort(4, 512), Effort(4, 256), Effort(3, 256), Effort(2, 128))
"""In this order where time is short."""


def affordable(take: Callable[[int], object], groups: int, seconds: float) -> Effort:
    """The most thorough effort for so many groups that fits into a time, or the least one.

    Args:
        take: takes a loss on so many samples.
        groups: how many there are.
        seconds: that all of it may take, with the losses that are taken here.
    """
    began = time.perf_counter()
    take(_TIMED_SAMPLES[0])
    few, many = (_seconds(take, samples) for samples in _TIMED_SAMPLES)
    each = max(0.0, many - few) / (_TIMED_SAMPLES[1] - _TIMED_SAMPLES[0])
    fixed = max(0.0, few - _TIMED_SAMPLES[0] * each)
    left = seconds - (time.perf_counter() - began)
    fitting = (e for e in (FULL, *LESS) if e.losses(groups) * (fixed + e.samples * each) <= left)
    return next(fitting, LESS[-1])


def borrow_points(
    points: Mapping[str, Mapping[str, float | None]],
    full: Mapping[str, int],
    widths: Sequence[int],
    own: int,
) -> dict[str, float | None]:
    """Increases of the loss for a group that was not measured: medians of those that were.

    Args:
        points: measured group -> width, as a text -> increase; None where it is not finite.
        full: group -> its full width.
        widths: of the group without points, that get a value.
        own: its full width.
    """
    curves = [
        np.array(sorted([(int(w) / full[name], v) for w, v in row.items() if v is not None] + [(1.0, 0.0)]))
        for name, row in points.items()
        if any(value is not None for value in row.values())
    ]
    increases: dict[str, float | None] = {}
    for width in widths:
        values = [float(np.interp(width / own, *curve.T)) for curve in curves]
        increases[str(width)] = round(median(values), 6) if values else None
    return increases


def _seconds(take: Callable[[int], object], samples: int) -> float:
    began = time.perf_counter()
    take(samples)
    return time.perf_counter() - began
