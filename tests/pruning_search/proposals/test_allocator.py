from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autoprune.pruning_search.proposals.allocator import (
    Allocation,
    AllocationTask,
    Curve,
    Greedy,
    Spend,
    exact_plans,
    monotone_curve,
)

Allocate = Callable[[AllocationTask, list[float]], list[Allocation]]


def greedy_plans(task: AllocationTask, levels: list[float]) -> list[Allocation]:
    greedy = Greedy(task)
    return [greedy.at(level) for level in levels]


BOTH = pytest.mark.parametrize("allocate", [greedy_plans, exact_plans])


def total(prices: list[float], limit: float = 1.0) -> Spend:
    """Every unit has a price of its own."""
    return lambda widths: (widths @ np.array(prices) / limit)[:, None]


def chained(widths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Layers one after the other: products of neighbouring widths, relative to 100."""
    padded = np.pad(widths, ((0, 0), (1, 1)), constant_values=3)
    return (padded[:, 1:] * padded[:, :-1]).sum(axis=1, keepdims=True) / 100.0


def brute_force(task: AllocationTask, level: float) -> float:
    plans = np.array(list(product(*(range(len(curve.widths)) for curve in task.curves.values()))))
    affordable = plans[task.spent(plans) <= level]
    return min(task.loss(plan) for plan in affordable)


@st.composite
def curves(draw: st.DrawFn, groups: int = 4, widths: int = 4) -> dict[str, Curve]:
    made = {}
    for group in range(draw(st.integers(1, groups))):
        steps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=widths))
        drops = draw(st.lists(st.integers(0, 20), min_size=len(steps) - 1, max_size=len(steps) - 1))
        losses = np.concatenate([np.cumsum(drops[::-1])[::-1], [0]]) / 10
        made[f"g{group}"] = Curve(tuple(np.cumsum(steps).tolist()), tuple(losses.tolist()))
    return made


levels_drawn = st.lists(st.floats(0.05, 1.5), min_size=2, max_size=5).map(sorted)
spends = st.sampled_from(["chained", "sum", "two limits"])


def task_with(made: dict[str, Curve], spend: str) -> AllocationTask:
    prices = [1.0 + column for column in range(len(made))]
    full = np.array([[curve.widths[-1] for curve in made.values()]])
    sums = total(prices, total(prices)(full)[0, 0])
    scale = chained(full)[0, 0]
    of: dict[str, Spend] = {
        "sum": sums,
        "chained": lambda widths: chained(widths) / scale,
        "two limits": lambda widths: np.hstack([sums(widths), 1.2 * chained(widths) / scale]),
    }
    return AllocationTask(made, of[spend])


@BOTH
def test_a_case_small_enough_to_see(allocate: Allocate) -> None:
    # Units of b are dear and lose little: they go first. From 4 + 2 * 4 = 12 on.
    task = AllocationTask(
        {"a": Curve((1, 2, 4), (9.0, 4.0, 0.0)), "b": Curve((1, 2, 4), (2.0, 1.0, 0.0))},
        total([1.0, 2.0], 12),
    )
    plans = allocate(task, [1.0, 8 / 12, 6 / 12, 4 / 12, 3 / 12])
    assert [tuple(plan.widths.values()) for plan in plans] == [(4, 4), (4, 2), (4, 1), (2, 1), (1, 1)]
    assert [plan.loss for plan in plans] == [0.0, 1.0, 2.0, 6.0, 11.0]
    assert [plan.spent * 12 for plan in plans] == pytest.approx([12, 8, 6, 4, 3])


@BOTH
def test_what_no_plan_can_meet_gives_the_narrowest(allocate: Allocate) -> None:
    task = AllocationTask({"a": Curve((2, 4), (1.0, 0.0))}, total([1.0], 4))
    (plan,) = allocate(task, [0.1])
    assert plan.widths == {"a": 2}
    assert plan.spent == 0.5


def test_coefficients_move_the_cut_to_other_groups() -> None:
    task = AllocationTask(
        {name: Curve((1, 2, 3, 4), (3.0, 2.0, 1.0, 0.0)) for name in "ab"}, total([1.0, 1.0], 8)
    )
    assert Greedy(task.weighted({"a": 10.0})).at(5 / 8).widths == {"a": 4, "b": 1}
    assert Greedy(task.weighted({"a": 0.1})).at(5 / 8).widths == {"a": 1, "b": 4}


def test_a_plateau_behind_a_cliff_counts_for_the_cliff() -> None:
    # One step of a loses 5 but the next three nothing: four steps for 5 are better than four of b for 8.
    task = AllocationTask(
        {
            "a": Curve((1, 2, 3, 4, 5), (5.0, 5.0, 5.0, 5.0, 0.0)),
            "b": Curve((1, 2, 3, 4, 5), (8.0, 6.0, 4.0, 2.0, 0.0)),
        },
        total([1.0, 1.0], 10),
    )
    assert Greedy(task).at(0.6).widths == {"a": 1, "b": 5}


def test_what_the_last_step_left_over_is_given_to_earlier_ones() -> None:
    # The step of the wide group saves far more than was needed.
    task = AllocationTask(
        {"small": Curve((1, 2, 3), (0.3, 0.1, 0.0)), "wide": Curve((1, 11), (6.0, 0.0))},
        total([1.0, 1.0], 14),
    )
    assert Greedy(task).at(6 / 14).widths == {"small": 3, "wide": 1}


@BOTH
@settings(max_examples=60, deadline=None)
@given(made=curves(), spend=spends, levels=levels_drawn)
def test_a_higher_level_never_predicts_a_higher_loss(
    allocate: Allocate, made: dict[str, Curve], spend: str, levels: list[float]
) -> None:
    task = task_with(made, spend)
    plans = allocate(task, levels)
    losses = [plan.loss for plan in plans]
    assert losses == sorted(losses, reverse=True)
    for level, plan in zip(levels, plans, strict=True):
        assert all(plan.widths[name] in curve.widths for name, curve in made.items())
        narrowest = {name: curve.widths[0] for name, curve in made.items()}
        assert plan.spent <= level or plan.widths == narrowest


@settings(max_examples=60, deadline=None)
@given(made=curves(), level=st.floats(0.3, 1.0))
def test_the_exact_plan_is_the_best_of_all_where_costs_are_sums(made: dict[str, Curve], level: float) -> None:
    task = task_with(made, "sum")
    (plan,) = exact_plans(task, [level])
    if plan.spent <= level:
        assert plan.loss == pytest.approx(brute_force(task, level), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(made=curves(), level=st.floats(0.3, 1.0))
def test_by_products_too_the_exact_plan_is_no_worse_than_the_greedy_one(
    made: dict[str, Curve], level: float
) -> None:
    task = task_with(made, "chained")
    (plan,) = exact_plans(task, [level])
    assert plan.loss <= Greedy(task).at(level).loss + 1e-12


def test_by_products_both_are_close_to_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    gaps: dict[str, list[float]] = {"greedy": [], "exact": []}
    for _ in range(10):
        made = {}
        for name in "abcd":
            widths = tuple(range(2, 14, 2))
            losses = rng.uniform(0.5, 2) * (12 / np.array(widths) - 1) ** rng.uniform(1, 2)
            made[name] = Curve(widths, tuple(losses.tolist()))
        task = task_with(made, "chained")
        best = brute_force(task, 0.4)
        gaps["greedy"].append(Greedy(task).at(0.4).loss / best)
        gaps["exact"].append(exact_plans(task, [0.4])[0].loss / best)
    assert np.mean(gaps["greedy"]) < 1.1
    assert np.mean(gaps["exact"]) < 1.02


def test_a_curve_falls_and_goes_through_what_was_measured() -> None:
    curve = monotone_curve({2: 1.0, 4: 0.3, 6: 0.1}, 8, range(2, 9))
    assert curve.widths == (2, 3, 4, 5, 6, 7, 8)
    assert [curve.losses[at] for at in (0, 2, 4, 6)] == pytest.approx([1.0, 0.3, 0.1, 0.0])
    assert all(above >= below for above, below in zip(curve.losses, curve.losses[1:], strict=False))


def test_noise_is_smoothed_and_gains_count_as_nothing() -> None:
    curve = monotone_curve({2: 0.4, 4: 0.6, 6: -0.2}, 8, (2, 4, 6, 8))
    assert curve.losses == pytest.approx((0.5, 0.5, 0.0, 0.0))


def test_a_prior_makes_every_step_lose_something() -> None:
    curve = monotone_curve({2: 0.0, 6: 0.0}, 8, (2, 4, 6, 8), prior=0.1)
    assert curve.losses[-1] == 0.0
    assert (curve.drops > 0).all()
    assert curve.drops[0] > curve.drops[-1]


def test_a_block_is_there_or_not() -> None:
    curve = monotone_curve({0: 0.7}, 1, (0, 1))
    assert curve.losses == (0.7, 0.0)


@pytest.mark.parametrize(
    ("widths", "losses"), [((1, 2), (0.0, 1.0)), ((2, 1), (1.0, 0.0)), ((), ()), ((1,), (1.0, 0.0))]
)
def test_what_is_no_curve_is_refused(widths: tuple[int, ...], losses: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="curve"):
        Curve(widths, losses)
