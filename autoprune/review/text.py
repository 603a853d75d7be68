"""Short texts for the numbers of a study, shared by the table and the live view."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from autoprune.utils.quantities import human_bytes, human_count, human_seconds

_LIMITS: Mapping[str, Callable[[float], str]] = {
    "flops": human_count,
    "params": human_count,
    "nonzero": human_count,
    "size": human_bytes,
    "latency": human_seconds,
}


def is_share(metric: str) -> bool:
    """Whether a metric is a share from 0 to 1, shown in percent; noise on the inputs follows an ``@``."""
    return metric.partition("@")[0].endswith("accuracy")


def quality_text(metric: str, quality: float, error: float | None = None) -> str:
    """``96.11% ±0.52`` for an accuracy (a share from 0 to 1), four significant digits for other metrics.

    A quality that is not a number is ``undefined``.
    """
    if math.isnan(quality):
        return "undefined"
    as_percent = is_share(metric)
    text = f"{quality:.2%}" if as_percent else f"{quality:.4g}"
    if error is None or math.isnan(error):
        return text
    return f"{text} ±{100 * error:.2f}" if as_percent else f"{text} ±{error:.2g}"


def share_text(share: float) -> str:
    """``50%``; one decimal below ten percent."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"


def whole_seconds(seconds: float) -> str:
    """Elapsed or remaining time without decimals: ``12 s``, ``4m 10s``."""
    return f"{seconds:.0f} s" if seconds < 59.5 else human_seconds(seconds)


def limits_text(limits: Mapping[str, float]) -> str:
    """Absolute limits with their units: ``flops 15.5M, latency 1.20 ms``."""
    return ", ".join(f"{what} {_LIMITS.get(what, str)(most)}" for what, most in limits.items())


def trials_text(count: int) -> str:
    """``1 trial`` or ``2 trials``."""
    return f"{count} trial{'' if count == 1 else 's'}"
