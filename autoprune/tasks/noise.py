"""Sampling error of quality estimates on finitely many samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoprune.tasks.task import Task

Z95 = 1.959964
"""Half-width of a 95 % interval, in standard errors of a normal distribution."""
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
    z2 = Z95**2
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = Z95 / (1 + z2 / samples) * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    # Rounding must not push the estimate out of its interval.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Noise(math.sqrt(share * (1 - share) / samples), low, high)


def bootstrap(value: float, blocks: Sequence[float]) -> Noise | None:
    """Noise of a metric from its values on blocks of the samples; None with fewer than two blocks.

    The mean over blocks drawn with replacement (Efron, 1979) tells how the metric varies; its interval is
    moved to the value that the metric has on all samples. Equal blocks give an equal result.
    """
    if len(blocks) < 2 or not all(map(math.isfinite, blocks)):
        return None
    values = np.asarray(blocks, dtype=np.float64)
    chosen = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    means = values[chosen].mean(axis=1)
    low, high = np.quantile(means - values.mean(), (0.025, 0.975))
    return Noise(float(means.std(ddof=1)), value + min(0.0, float(low)), value + max(0.0, float(high)))
