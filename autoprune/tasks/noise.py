"""Sampling error of quality estimates on finitely many samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from autoprune.tasks.task import Task

BLOCKS = 32
"""Number of blocks of a split for the bootstrap."""
DRAWS = 1000
"""Number of bootstrap resamples."""


@dataclass(frozen=True)
class Noise:
    """The sampling error of an estimate: its standard error and 95 % interval."""

    error: float
    low: float
    high: float


def counts_samples(task: Task) -> bool:
    """Whether the metric is the share of correct samples, and therefore binomial."""
    return task.name == "classification" and task.metric.partition("@")[0] == "accuracy"


def wilson(share: float, samples: int) -> Noise:
    """Binomial standard error and Wilson's interval (1927) of a share of `samples` samples."""
    interval = stats.binomtest(round(share * samples), samples).proportion_ci(method="wilson")
    # Rounding must not push the estimate out of its interval.
    low, high = min(share, float(interval.low)), max(share, float(interval.high))
    return Noise(math.sqrt(share * (1 - share) / samples), low, high)


def bootstrap(value: float, blocks: Sequence[float]) -> Noise | None:
    """Noise of a metric from its values on blocks of the samples; None with fewer than two blocks.

    The mean over blocks drawn with replacement (Efron, 1979) estimates how the metric varies; its interval is
    moved to the value that the metric has on all samples. Equal blocks give an equal result.
    """
    if len(blocks) < 2 or not all(map(math.isfinite, blocks)):
        return None
    values = np.asarray(blocks, dtype=np.float64)
    drawn = stats.bootstrap(
        (values,), np.mean, n_resamples=DRAWS, method="percentile", rng=np.random.default_rng(0)
    )
    low, high = (float(end) - float(values.mean()) for end in drawn.confidence_interval)
    return Noise(float(drawn.standard_error), value + min(0.0, low), value + max(0.0, high))
