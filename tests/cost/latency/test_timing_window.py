from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from autoprune.cost.latency.runtimes import Call
from autoprune.cost.latency.timing import SAMPLE_SECONDS, Comparison, compare_calls
from autoprune.errors import TrialError

MILLISECOND = 1_000_000


class Machine:
    """A clock and calls that advance it by what ``cost`` gives for the time now (nanoseconds)."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now

    def call(self, name: str, cost: Callable[[int], int]) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += cost(self.now)

        return run


def compare(
    machine: Machine, candidate: Callable[[int], int], reference: Callable[[int], int], **settings: float
) -> Comparison:
    calls = machine.call("candidate", candidate), machine.call("reference", reference)
    return compare_calls(*calls, clock=machine.clock, **settings)


def steady(nanoseconds: int) -> Callable[[int], int]:
    return lambda now: nanoseconds


def self_timed(machine: Machine, name: str, seconds: float) -> Call:
    """A program that takes a second to say how long one call takes."""

    def run() -> float:
        machine.call(name, steady(10**9))()
        return seconds

    return run


def jittery(nanoseconds: int) -> Callable[[int], int]:
    return lambda now: nanoseconds * (1 + (now // 977) % 3)


def test_steady_calls_converge_at_once() -> None:
    result = compare(Machine(), steady(3 * MILLISECOND), steady(6 * MILLISECOND))
    assert result.converged
    assert result.ratio == 0.5
    assert result.seconds == pytest.approx(3e-3)
    assert result.reference_seconds == pytest.approx(6e-3)
    assert result.repeats < 20


def test_short_calls_are_looped_into_long_samples() -> None:
    machine = Machine()
    result = compare(machine, steady(10_000), steady(3 * MILLISECOND), warmup=0.0)
    runs = "".join(name[0] for name in machine.log).split("r")
    assert result.seconds == pytest.approx(1e-5)
    assert max(len(run) for run in runs) * 1e-5 >= SAMPLE_SECONDS


def test_order_within_pairs_varies_and_repeats_exactly() -> None:
    first, second = Machine(), Machine()
    for machine in (first, second):
        compare(machine, steady(3 * MILLISECOND), steady(3 * MILLISECOND), warmup=0.0)
    assert first.log == second.log
    pairs = list(zip(first.log[6::2], first.log[7::2], strict=True))
    assert {("candidate", "reference"), ("reference", "candidate")} == set(pairs)


def test_cap_ends_a_window_that_does_not_converge() -> None:
    machine = Machine()
    result = compare(machine, jittery(3 * MILLISECOND), steady(3 * MILLISECOND), max_seconds=0.5)
    assert not result.converged
    assert machine.now < 1.5e9
    assert result.ratio_low < result.ratio_high


def test_slow_models_get_three_pairs_whatever_the_cap() -> None:
    result = compare(Machine(), steady(10**9), steady(2 * 10**9), max_seconds=0.1)
    assert result.repeats == 3
    assert result.ratio == 0.5
    assert not result.converged


def test_drifting_window_is_repeated() -> None:
    machine = Machine()
    slow_until = 160 * MILLISECOND

    def reference(now: int) -> int:
        return 6 * MILLISECOND if now < slow_until else 3 * MILLISECOND

    result = compare(machine, steady(3 * MILLISECOND), reference, warmup=0.05, max_seconds=0.1)
    assert len(machine.log) > 4 * result.repeats
    assert result.converged
    assert result.drift == 0.0
    assert result.ratio == 1.0


def test_drift_that_stays_is_flagged() -> None:
    def slowing(now: int) -> int:
        return 3 * MILLISECOND + now // 40

    result = compare(Machine(), slowing, slowing, max_seconds=1.0)
    assert result.drift > 0.1
    assert not result.converged


def test_stopwatch_that_stands_still_while_others_run_is_not_moved_by_them() -> None:
    machine, own = Machine(), Machine()

    def work(nanoseconds: int) -> Call:
        def run() -> None:
            own.now += nanoseconds
            machine.now += nanoseconds
            if own.now // (4 * MILLISECOND) % 2:
                machine.now += 7 * MILLISECOND  # another program has the core

        return run

    result = compare_calls(
        work(3 * MILLISECOND), work(6 * MILLISECOND), clock=machine.clock, stopwatch=own.clock
    )
    assert result.converged
    assert result.seconds == pytest.approx(3e-3)
    assert result.ratio == 0.5


@pytest.mark.parametrize("step", [0, -5])
def test_broken_clock_is_an_error(step: int) -> None:
    with pytest.raises(TrialError, match="clock"):
        compare(Machine(), steady(step), steady(MILLISECOND))


def test_clock_that_breaks_during_the_window_is_an_error() -> None:
    def reference(now: int) -> int:
        return 3 * MILLISECOND if now < 240 * MILLISECOND else -1

    with pytest.raises(TrialError, match="clock"):
        compare(Machine(), steady(3 * MILLISECOND), reference)


def test_call_too_short_for_the_clock_is_an_error() -> None:
    with pytest.raises(TrialError, match="no time"):
        compare(Machine(), steady(1), steady(MILLISECOND))


def test_garbage_collection_rests_during_the_window_only() -> None:
    seen: list[bool] = []

    def cost(now: int) -> int:
        seen.append(gc.isenabled())
        return 3 * MILLISECOND

    assert gc.isenabled()
    compare(Machine(), cost, cost, warmup=0.0)
    assert gc.isenabled()
    assert not any(seen[-20:])


def test_garbage_collection_comes_back_after_an_error() -> None:
    def cost(now: int) -> int:
        if now > 60 * MILLISECOND:
            raise RuntimeError("broken")
        return 3 * MILLISECOND

    with pytest.raises(RuntimeError, match="broken"):
        compare(Machine(), cost, cost, warmup=0.0)
    assert gc.isenabled()


def test_calls_that_keep_time_themselves_are_believed_and_alternate() -> None:
    machine = Machine()
    result = compare_calls(
        self_timed(machine, "candidate", 2e-6),
        self_timed(machine, "reference", 8e-6),
        clock=machine.clock,
        max_seconds=0.5,
    )
    assert (result.seconds, result.reference_seconds) == (2e-6, 8e-6)
    assert result.ratio == 0.25
    assert result.repeats == 3
    # Each is warmed up once, then both run in every pair.
    assert sorted(machine.log[:2]) == ["candidate", "reference"]
    assert [sorted(machine.log[i : i + 2]) for i in (2, 4, 6)] == [["candidate", "reference"]] * 3
    assert len(machine.log) == 8
