"""What a group's width costs in loss, at every width that is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

PRIOR = 0.01
"""Strength of the convex curve that is added, as a share of the median group's largest increase."""
HOPELESS = 10.0
"""Times the largest finite increase that a cut counts for whose output is not finite."""

Points = Mapping[str, Mapping[int, float | None]]
"""Group -> width -> measured increase of the loss; None for one that is not finite."""


@dataclass(frozen=True)
class Curve:
    """Increase of the loss when one group is cut to each of its widths.

    Attributes:
        widths: ascending, in units; the only ones that an allocator offers.
        losses: one a width, never rising with it.
    """

    widths: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.losses) or not self.widths:
            raise ValueError("a curve needs one loss a width")
        if any(np.diff(self.widths) <= 0) or any(np.diff(self.losses) > 0):
            raise ValueError("the widths of a curve ascend, and its losses never rise with them")

    def times(self, factor: float) -> Curve:
        """The curve with all losses multiplied."""
        return Curve(self.widths, tuple(factor * loss for loss in self.losses))

    def plus(self, most: float) -> Curve:
        """The curve with a straight line added: `most` at width 0, nothing at the widest."""
        widest = self.widths[-1]
        added = (most * (1 - width / widest) if widest else 0.0 for width in self.widths)
        return Curve(self.widths, tuple(loss + more for loss, more in zip(self.losses, added, strict=True)))

    @property
    def drops(self) -> NDArray[np.float64]:
        """What each step down to position 0, 1, ... loses on the lower convex hull, shape ``[widths - 1]``.

        On the hull a step is never cheaper than a wider one, so that a plateau behind a cliff counts
        for the cliff.
        """
        widths, losses = np.array(self.widths, dtype=np.float64), np.array(self.losses)
        hull: list[int] = []
        for point in range(len(widths)):
            while len(hull) > 1 and _turns_up(widths, losses, hull[-2], hull[-1], point):
                hull.pop()
            hull.append(point)
        drops: NDArray[np.float64] = -np.diff(np.interp(widths, widths[hull], losses[hull]))
        return drops


def _turns_up(
    widths: NDArray[np.float64], losses: NDArray[np.float64], first: int, middle: int, last: int
) -> bool:
    """Whether the middle point lies on or above the line between the other two."""
    span, part = widths[last] - widths[first], widths[middle] - widths[first]
    return bool((losses[middle] - losses[first]) * span >= (losses[last] - losses[first]) * part)


def monotone_curve(
    points: Mapping[int, float], full: int, widths: Sequence[int], prior: float = 0.0
) -> Curve:
    """A curve through measured points, at the given ascending widths.

    Isotonic regression takes out what noise makes rise, and a monotone cubic (Fritsch and Carlson, 1980)
    fills in between. Increases below 0 count as 0.

    Args:
        points: width -> measured increase of the loss; that of the full width is 0.
        full: the group's full width.
        widths: the widths to offer, none below the narrowest measured one.
        prior: strength of a convex curve that is added, so that a group whose measured losses drown in noise
            is not thought to be free.
    """
    known = sorted({**points, full: 0.0}.items())
    x, y = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    falling = np.maximum(isotonic_regression(np.maximum(y, 0.0), increasing=False).x, 0.0)
    falling -= falling[-1]
    at = np.array(widths, dtype=np.float64)
    losses = np.maximum(PchipInterpolator(x, falling)(at), 0.0) if len(x) > 1 else np.zeros(len(at))
    # At the full width nothing is lost, whatever rounding says.
    losses = np.where(at < full, losses, 0.0)
    density = at / full
    losses = losses + prior * (1 - density) / (density + 0.1)
    return Curve(tuple(widths), tuple(np.minimum.accumulate(losses).tolist()))


def curves_through(
    points: Points, full: Mapping[str, int], offered: Mapping[str, Sequence[int]]
) -> dict[str, Curve]:
    """Group -> curve through its measured points.

    Args:
        points: of every group.
        full: widths of the original model.
        offered: the widths of each group that the curve gives a loss for, ascending.
    """
    finite = [value for row in points.values() for value in row.values() if value is not None]
    worst = HOPELESS * max(finite, default=1.0)
    known = {
        name: {width: worst if value is None else value for width, value in row.items()}
        for name, row in points.items()
    }
    largest = [max([0.0, *row.values()]) for row in known.values()]
    prior = PRIOR * max(median(largest), float(np.finfo(np.float32).tiny))
    return {name: monotone_curve(known[name], width, offered[name], prior) for name, width in full.items()}


def weighted(
    curves: Mapping[str, Curve], scales: Mapping[str, float], shifts: Mapping[str, float]
) -> dict[str, Curve]:
    """The curves times their scales, plus straight lines.

    The affine coefficients of Chin et al., "Towards Efficient Model Compression via Learned Global Ranking"
    (2020), on the sum of what the removed units are worth: a scale multiplies the curve, and a shift for
    each unit is a straight line. It is relative to the median group's largest loss, so that it also
    protects a group whose measured curve is flat, which no scale can.
    """
    unit = median([curve.losses[0] for curve in curves.values()]) if curves else 0.0
    return {
        name: curve.times(scales.get(name, 1.0)).plus(unit * shifts.get(name, 0.0))
        for name, curve in curves.items()
    }
