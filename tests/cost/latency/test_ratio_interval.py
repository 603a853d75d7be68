from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from autoprune.cost.latency.ratio_interval import RatioInterval, drift, ratio_interval


def timings(generator: np.random.Generator, seconds: float, count: int) -> NDArray[np.float64]:
    """Right-skewed noise of 3 %, and every tenth sample interrupted for up to four times its length."""
    noisy = seconds * (1 + 0.03 * generator.exponential(size=count))
    interrupted = generator.random(count) < 0.1
    return np.where(interrupted, noisy * generator.uniform(2, 5, count), noisy)


def test_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        interval = ratio_interval(timings(generator, 0.7, 40), timings(generator, 1.0, 40))
        covered += interval.low <= 0.7 <= interval.high
    assert covered >= 180


def test_outliers_do_not_move_the_ratio() -> None:
    candidate, reference = np.full(21, 2.0), np.full(21, 4.0)
    candidate[:5] = 1000.0
    interval = ratio_interval(candidate, reference)
    assert interval.ratio == 0.5
    assert interval.half_width == 0.0


def test_slow_phase_of_both_cancels() -> None:
    phase = np.where(np.arange(60) % 2 == 0, 1.0, 3.0)
    interval = ratio_interval(0.5 * phase, phase)
    assert interval == RatioInterval(0.5, 0.5, 0.5)


def test_more_samples_narrow_the_interval() -> None:
    generator = np.random.default_rng(2)
    few = ratio_interval(timings(generator, 1, 12), timings(generator, 1, 12))
    many = ratio_interval(timings(generator, 1, 300), timings(generator, 1, 300))
    assert many.half_width < few.half_width / 2


def test_interval_holds_the_ratio_and_repeats_exactly() -> None:
    generator = np.random.default_rng(3)
    for count in range(1, 8):
        samples = timings(generator, 2, count), timings(generator, 1, count)
        interval = ratio_interval(*samples)
        assert interval.low <= interval.ratio <= interval.high
        assert ratio_interval(*samples) == interval


def test_wider_confidence_gives_a_wider_interval() -> None:
    generator = np.random.default_rng(4)
    samples = timings(generator, 2, 30), timings(generator, 1, 30)
    assert ratio_interval(*samples, confidence=0.5).half_width < ratio_interval(*samples).half_width


@pytest.mark.parametrize("samples", [([], []), ([1.0], [1.0, 2.0])])
def test_samples_that_are_not_pairs_are_refused(samples: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError):
        ratio_interval(*samples)


def test_drift_compares_the_halves() -> None:
    assert drift([1.0, 1.0, 5.0, 1.5, 1.5]) == pytest.approx(0.5)
    assert drift([2.0, 1.0]) == pytest.approx(-0.5)
    assert drift([1.0]) == 0.0
