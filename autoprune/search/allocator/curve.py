"""What a group's width costs in loss, at every width that is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression


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
