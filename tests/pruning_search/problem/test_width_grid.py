import optuna
import pytest

from autoprune.config.bounds import parse_bounds
from autoprune.config.settings import Config
from autoprune.pruning_search.problem.width_grid import MOST_STEPS, AnyGrid, Grid, StepGrid, grid_of, grids_of
from autoprune.structure import Group, Structure


def grid(width: int, *bounds: str, **settings: object) -> Grid:
    return grid_of(Group("layer", "channels", width, ()), Config(**settings), parse_bounds(bounds))


def widths(of: AnyGrid) -> list[int]:
    found = [of.low]
    while found[-1] < of.high:
        found.append(of.wider(found[-1]))
    return found


@pytest.mark.parametrize("width", [2, 7, 16, 64, 100, 1000])
def test_by_itself_a_group_has_few_widths_a_power_of_two_apart(width: int) -> None:
    made = grid(width)
    assert 2 <= len(widths(made)) <= MOST_STEPS + 1
    assert made.step & (made.step - 1) == 0
    assert made.high == made.top == width
    assert 0.1 * width - 1 <= made.low <= 0.1 * width + made.step


def test_multiples_and_the_full_width() -> None:
    made = grid(30, round_to=8)
    assert widths(made) == [8, 16, 24, 30]
    assert made.top == 32
    assert [made.nearest(width) for width in (1, 12, 13, 29, 99)] == [8, 8, 16, 30, 30]
    assert widths(grid(6, round_to=8)) == [6]


def test_lower_limits_and_bounds() -> None:
    assert grid(64, min_width=20).low >= 20
    assert grid(8, min_width=20) == Grid(8, 8, 1)
    assert widths(grid(64, "lay*=4..8", "other=1..2")) == [4, 5, 6, 7, 8]
    assert widths(grid(64, "layer=25%..50%", round_to=16)) == [16, 32]


LATENCY_STEPS = {"layer": [5, 16, 30, 48, 64]}


def on_latency_steps(*bounds: str, **settings: object) -> AnyGrid:
    structure = Structure((Group("layer", "channels", 64, ()),), {}, (), {}, frozenset())
    return grids_of(structure, Config(bounds=bounds, **settings), LATENCY_STEPS)["layer"]


def test_latency_steps_of_the_device_replace_even_widths() -> None:
    made = on_latency_steps(min_density=0.2)
    assert made == StepGrid((16, 30, 48, 64))
    assert [made.nearest(width) for width in (1, 16, 23, 23.1, 40, 99)] == [16, 16, 16, 30, 48, 64]
    assert [made.wider(width) for width in (16, 20, 48, 64)] == [30, 30, 64, 64]
    assert (made.low, made.high) == (16, 64)


def test_bounds_hold_for_latency_steps_too() -> None:
    assert on_latency_steps("layer=20..40") == StepGrid((30, 40))
    assert on_latency_steps("layer=31..40") == grid(64, "layer=31..40")
    assert on_latency_steps(round_to=8) == grid(64, round_to=8)


@pytest.mark.parametrize("made", [StepGrid((3, 16, 30, 64)), Grid(6, 30, 8)], ids=str)
def test_a_parameter_gives_back_its_width(made: AnyGrid) -> None:
    study = optuna.create_study()
    for width in widths(made):
        study.enqueue_trial({"layer": made.parameter(width)})
        assert made.suggest(study.ask(), "layer") == width
