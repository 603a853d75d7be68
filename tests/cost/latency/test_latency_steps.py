from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from autoprune.cost.latency.steps import MOST, LatencySteps, find_steps, first_widths, top_edges


class Device:
    """Gives the latency of a width relative to the full one's, and remembers what it was asked."""

    def __init__(self, full: int, latency: Callable[[int], float], error: float = 0.001) -> None:
        self.full, self.latency, self.error = full, latency, error
        self.asked: list[int] = []

    def time(self, width: int) -> tuple[float, float]:
        self.asked.append(width)
        return self.latency(width) / self.latency(self.full), self.error

    def find_steps(self, least: int = 1) -> LatencySteps:
        return find_steps(self.time, self.full, least)


def edges_of(steps: LatencySteps) -> tuple[int, ...]:
    return top_edges(steps.widths, steps.ratios)


def in_blocks_of(block: int, share: float = 0.8) -> Callable[[int], float]:
    """A kernel that rounds widths up, in a model of which it is a share."""
    return lambda width: 1 - share + share * math.ceil(width / block) / 64


def test_edges_of_even_steps_are_found_exactly() -> None:
    device = Device(64, in_blocks_of(16))
    steps = device.find_steps(6)
    assert edges_of(steps) == (16, 32, 48, 64)
    assert len(steps.widths) <= MOST


def test_steps_that_no_power_of_two_divides() -> None:
    assert edges_of(Device(72, in_blocks_of(18)).find_steps(7)) == (18, 36, 54, 72)


def test_a_cliff_between_equal_levels_is_found_to_the_unit() -> None:
    device = Device(256, lambda width: 1.0 if width <= 100 else 2.0)
    # The edge within one 128th of the full width.
    assert edges_of(device.find_steps(25)) in ((99, 256), (100, 256))


def test_wide_layers_that_are_quicker_than_narrower_ones() -> None:
    def latency(width: int) -> float:
        return width / 64 * (1.0 if width % 8 == 0 else 1.5)

    assert edges_of(Device(60, latency).find_steps(6)) == (8, 16, 24, 32, 40, 48, 56, 60)


def test_an_even_slope_is_not_refined() -> None:
    device = Device(64, lambda width: 1 + width)
    steps = device.find_steps(6)
    assert steps.widths == (6, 8, 16, 24, 32, 40, 48, 56, 64)
    assert edges_of(steps) == steps.widths


def test_noise_is_no_cliff() -> None:
    device = Device(64, lambda width: 1 + 0.01 * (width * 7919 % 5), error=0.03)
    device.find_steps(6)
    assert len(device.asked) == 8


def test_one_measurement_gone_wrong_makes_no_step() -> None:
    device = Device(32, in_blocks_of(16))
    first = device.time

    def time(width: int) -> tuple[float, float]:
        ratio, error = first(width)
        return (0.3 * ratio if width == 17 and device.asked.count(17) == 1 else ratio), error

    steps = find_steps(time, 32, 3)
    assert device.asked.count(17) == 3
    assert edges_of(steps) == (16, 32)


def test_the_number_of_points_has_a_cap() -> None:
    device = Device(4096, lambda width: 1 + math.ceil(width / 100))
    assert len(device.find_steps(400).widths) <= MOST


def test_where_all_widths_are_as_fast_only_the_widest_one_is_worth_having() -> None:
    assert top_edges((4, 8, 16), (1.0, 1.0, 1.0)) == (16,)


def test_what_lies_half_way_on_a_step_that_is_not_level_is_offered_and_what_is_just_past_one_is_not() -> None:
    # In blocks of sixteen, but for what each channel costs in memory: predicted of a network at batch 64.
    narrow = [0.361, 0.424, 0.447, 0.460, 0.492, 0.515, 0.538, 0.548]
    wide = [0.584, 0.606, 0.629, 0.643, 0.675, 0.698, 0.720, 0.626]
    assert top_edges(range(1, 17), narrow + wide) == (1, 2, 3, 4, 6, 8, 16)


@pytest.mark.parametrize(
    ("full", "least", "widths"),
    [(1, 0, [0, 1]), (8, 1, [1, 2, 3, 4, 5, 6, 7, 8]), (20, 2, [2, 4, 8, 12, 16, 20]), (2, 1, [1, 2])],
)
def test_first_widths(full: int, least: int, widths: list[int]) -> None:
    assert first_widths(full, least) == widths


def test_between_the_points_are_straight_lines() -> None:
    steps = LatencySteps((4, 8, 16), (0.2, 0.6, 1.0), 0.01)
    assert [steps.at(width) for width in (1, 4, 6, 12, 16)] == pytest.approx([0.2, 0.2, 0.4, 0.8, 1.0])


def test_a_width_at_which_the_model_does_not_run_is_left_out_and_tried_once() -> None:
    device = Device(64, in_blocks_of(16))

    def time(width: int) -> tuple[float, float] | None:
        point = device.time(width)
        return None if width in (18, 40) else point

    steps = find_steps(time, 64, 6)
    assert not {18, 40} & set(steps.widths)
    assert [device.asked.count(width) for width in (18, 40)] == [1, 1]
    assert 16 in edges_of(steps)
    assert find_steps(lambda _: None, 64, 6) == LatencySteps((64,), (1.0,), 0.0)
