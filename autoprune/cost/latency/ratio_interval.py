"""Statistics of paired timings: the ratio of medians with its interval, and drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Samples = NDArray[np.float64]

_RESAMPLES = 999


@dataclass(frozen=True)
class RatioInterval:
    """Ratio of the candidate's median to the reference's, with the bounds of its confidence interval."""

    ratio: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval, relative to the ratio."""
        return (self.high - self.low) / (2 * self.ratio)


def ratio_interval(
    candidate: Sequence[float], reference: Sequence[float], confidence: float = 0.95
) -> RatioInterval:
    """Ratio of the medians of paired samples (seconds, all positive) with a percentile bootstrap interval.

    Pairs are resampled together, so a slow phase of the machine that meets both samples of a pair cancels;
    medians keep outliers from counting. The resampling is seeded: equal samples give equal intervals.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Raises ValueError for
    sequences of different lengths or without samples.
    """
    pairs = np.array([candidate, reference], dtype=np.float64)
    if pairs.shape[1] == 1:
        # Fewer than two are not resampled; two that are equal give the ratio of the one.
        pairs = pairs.repeat(2, axis=1)
    low, high = bootstrap(
        pairs,
        _ratio_of_medians,
        n_resamples=_RESAMPLES,
        paired=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    ratio = float(_ratio_of_medians(*pairs))
    return RatioInterval(ratio, min(float(low), ratio), max(float(high), ratio))


def _ratio_of_medians(candidate: Samples, reference: Samples, axis: int = -1) -> Samples:
    ratio: Samples = np.median(candidate, axis=axis) / np.median(reference, axis=axis)
    return ratio


def drift(samples: Sequence[float]) -> float:
    """Relative change of the median from the first half of the samples to the second (0 for under two)."""
    if len(samples) < 2:
        return 0.0
    half = len(samples) // 2
    return float(np.median(samples[-half:]) / np.median(samples[:half])) - 1
