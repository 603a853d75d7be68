"""Two callables timed against each other in alternation."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from autoprune.cost.latency.ratio_interval import RatioInterval, drift, ratio_interval
from autoprune.cost.latency.runtimes.base import Call
from autoprune.errors import TrialError

Clock = Callable[[], int]
"""A clock in nanoseconds."""

SAMPLE_SECONDS = 2e-3
"""A sample loops over enough calls to last this long, far above the clock's resolution."""

DRIFT_BOUND = 0.1
"""Relative change of the reference within a window beyond which the window is not trusted."""

_LEAST_PAIRS = 3
_PAIRS_TO_CONVERGE = 12
_WARM_UP_ROUNDS = 3
_MOST_LOOPS = 2**20


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare_calls`.

    Attributes:
        seconds: median seconds a call of the candidate.
        reference_seconds: median seconds a call of the reference.
        ratio: of the two.
        ratio_low: lower bound of the ratio's 95 % confidence interval.
        ratio_high: upper bound.
        repeats: pairs of samples in the window.
        drift: relative change of the reference from the window's first half to its second.
        converged: the interval is narrow enough and the reference did not drift.
    """

    seconds: float
    reference_seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repeats: int
    drift: float
    converged: bool


def compare_calls(
    candidate: Call,
    reference: Call,
    *,
    tolerance: float = 0.02,
    max_seconds: float = 2.0,
    warmup: float = 0.1,
    clock: Clock = time.perf_counter_ns,
    stopwatch: Clock | None = None,
) -> Comparison:
    """Time both in alternation, in random order within a pair, until the ratio is known well enough.

    A window ends when the interval's relative half-width is at most ``tolerance``, or after ``max_seconds``
    (but with three pairs at least). A window in which the reference drifts is repeated once. Both are warmed
    up for ``warmup`` seconds first. A call that keeps time itself is a sample of its own.

    Args:
        clock: says when the window ends.
        stopwatch: times the samples; None for the clock. The CPU time of the process is the better one for
            calls that compute in one thread: it stands still while another program has the core, which
            meets short and long calls unequally.

    Raises TrialError if the stopwatch stands still or runs backwards.
    """
    stopwatch = stopwatch or clock
    loops = (_warm_up(candidate, warmup, stopwatch), _warm_up(reference, warmup, stopwatch))
    samplers = (
        partial(_sample, candidate, loops[0], stopwatch),
        partial(_sample, reference, loops[1], stopwatch),
    )
    order = np.random.default_rng(0)

    def window() -> Comparison:
        return _window(samplers, tolerance, max_seconds, clock, order)

    with _without_garbage_collection():
        first = window()
        return window() if abs(first.drift) > DRIFT_BOUND else first


def _window(
    samplers: tuple[Callable[[], float], Callable[[], float]],
    tolerance: float,
    max_seconds: float,
    clock: Clock,
    order: np.random.Generator,
) -> Comparison:
    samples: tuple[list[float], list[float]] = ([], [])
    deadline = clock() + max_seconds * 1e9
    next_look = _PAIRS_TO_CONVERGE
    while True:
        for which in order.permutation(2):
            samples[which].append(samplers[which]())
        pairs = len(samples[0])
        over = pairs >= _LEAST_PAIRS and clock() >= deadline
        if pairs < next_look and not over:
            continue
        # The interval is computed at growing distances: every look interrupts the window.
        next_look = math.ceil(1.3 * pairs)
        interval = ratio_interval(*samples)
        narrow = pairs >= _PAIRS_TO_CONVERGE and interval.half_width <= tolerance
        if narrow or over:
            return _comparison(samples, interval, narrow)


def _comparison(
    samples: tuple[list[float], list[float]], interval: RatioInterval, narrow: bool
) -> Comparison:
    candidate, reference = samples
    change = drift(reference)
    return Comparison(
        seconds=float(np.median(candidate)),
        reference_seconds=float(np.median(reference)),
        ratio=interval.ratio,
        ratio_low=interval.low,
        ratio_high=interval.high,
        repeats=len(candidate),
        drift=change,
        converged=narrow and abs(change) <= DRIFT_BOUND,
    )


def _warm_up(call: Call, seconds: float, stopwatch: Clock) -> int:
    """Run until caches and lazy initialisation are done; returns the calls that make up one sample."""
    loops, rounds, spent = 1, 0, 0.0
    while loops < _MOST_LOOPS:
        elapsed, own = _loop(call, loops, stopwatch)
        spent += elapsed
        rounds += 1
        if own is not None:
            if spent >= seconds:
                return loops
        elif elapsed < SAMPLE_SECONDS:
            loops *= 2
        elif spent >= seconds and rounds >= _WARM_UP_ROUNDS:
            return loops
    raise TrialError("a call takes no time that the clock can see: check what the model computes")


def _sample(call: Call, loops: int, stopwatch: Clock) -> float:
    """Seconds a call: by its own account, or as the mean of one loop."""
    elapsed, own = _loop(call, loops, stopwatch)
    return elapsed / loops if own is None else own


def _loop(call: Call, loops: int, stopwatch: Clock) -> tuple[float, float | None]:
    """Seconds of all calls together, and what the last one said of itself."""
    start, own = stopwatch(), None
    for _ in range(loops):
        own = call()
    elapsed = stopwatch() - start
    if elapsed <= 0:
        raise TrialError("the clock stood still or ran backwards during a timing: measure again")
    return elapsed * 1e-9, own


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
