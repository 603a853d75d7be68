from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.pruning_search import Problem, create_study
from autoprune.pruning_search.coordination.budget_usage import start_clock
from autoprune.pruning_search.evaluation.evaluate import cut_model
from autoprune.pruning_search.problem.width_grid import Grid, StepGrid, widths_of
from autoprune.pruning_search.proposals import sensitivity as sensitivities
from autoprune.pruning_search.proposals import sensitivity_effort as efforts
from autoprune.pruning_search.proposals.sensitivity import (
    CONTEXT,
    POINTS,
    SENSITIVITY,
    curves_of,
    loss,
    recorded_curves,
    sensitivity,
    widths_to_measure,
)
from autoprune.pruning_search.proposals.sensitivity_effort import (
    FULL,
    LESS,
    Effort,
    affordable,
    borrow_points,
)
from autoprune.review import Listener

Make = Callable[..., Problem]


class Watcher(Listener):
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.done: list[str] = []

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append(name)

    def progress(self, fraction: float, detail: str = "") -> None:
        assert 0 <= fraction <= 1
        self.done.append(detail)


def test_curves_are_measured_with_progress_and_stored(make_problem: Make) -> None:
    problem = make_problem()
    study, watcher = create_study(problem), Watcher()
    found = sensitivity(problem, study, watcher)
    assert watcher.phases == ["sensitivity"]
    assert watcher.done == list(problem.structure.widths)
    for name, curve in found.items():
        assert list(curve.widths) == widths_of(problem.budget_model.grids[name])
        assert curve.losses[-1] == 0 < curve.losses[0]
        assert all(np.diff(curve.losses) < 0)
    record = study.user_attrs[SENSITIVITY]
    assert 0.8 * CONTEXT < problem.budget_model.used(record["context"]) <= CONTEXT
    name, context = "conv1", record["context"]
    losses = []
    for width in (problem.budget_model.grids[name].low, problem.structure.widths[name]):
        plan = problem.pruning.plan({**context, name: width})
        model = cut_model(problem, plan)
        problem.recovery.repair(model, plan)
        losses.append(loss(problem, model))
    increase = record["points"][name][str(problem.budget_model.grids[name].low)]
    assert increase == pytest.approx(losses[0] - losses[1], abs=1e-5)
    assert record["seconds"] > 0
    assert all(len(points) <= POINTS for points in record["points"].values())


def test_another_run_of_the_study_measures_nothing(make_problem: Make) -> None:
    problem = make_problem()
    study = create_study(problem)
    first = sensitivity(problem, study, Listener())
    again, watcher = make_problem(), Watcher()
    second = sensitivity(again, create_study(again), watcher)
    assert watcher.phases == []
    assert second == first


def test_what_a_killed_process_measured_counts(make_problem: Make) -> None:
    class Killing(Watcher):
        def progress(self, fraction: float, detail: str = "") -> None:
            super().progress(fraction, detail)
            if len(self.done) == 3:
                raise KeyboardInterrupt

    problem = make_problem()
    study = create_study(problem)
    with pytest.raises(KeyboardInterrupt):
        sensitivity(problem, study, Killing())
    rest = Watcher()
    sensitivity(problem, study, rest)
    assert rest.done == list(problem.structure.widths)[2:]


def test_the_model_stays_as_it_was_and_the_random_state_too(make_problem: Make) -> None:
    problem = make_problem()
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    state = torch.random.get_rng_state()
    sensitivity(problem, create_study(problem), Listener())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in problem.model.state_dict().items())


def test_an_output_that_is_not_finite_is_worse_than_all_others(make_problem: Make) -> None:
    problem = make_problem()
    names = list(problem.structure.widths)
    points: dict[str, dict[str, float | None]] = {name: {"2": 0.5} for name in names}
    points[names[0]] = {str(problem.budget_model.grids[names[0]].low): None}
    curves = curves_of(problem.budget_model, points)
    assert curves[names[0]].losses[0] >= 5


def test_without_a_limit_the_others_take_that_share_of_the_original_models_flops(make_problem: Make) -> None:
    problem = make_problem(budget=("trials=5",))
    study = create_study(problem)
    sensitivity(problem, study, Listener())
    context = study.user_attrs[SENSITIVITY]["context"]
    share = problem.pruning.costs.costs(context).flops / problem.budget_model.original_costs.flops
    assert 0.8 * CONTEXT < share <= CONTEXT


@pytest.mark.parametrize(
    ("grid", "full", "expected"),
    [
        (Grid(1, 16, 1), 16, [1, 4, 8, 12]),
        (Grid(8, 32, 8), 32, [8, 16, 24]),
        (Grid(0, 1, 1), 1, [0]),
        (StepGrid((5, 16, 30, 48, 64)), 64, [5, 16, 30, 48]),
        (Grid(8, 8, 1), 8, []),
        (Grid(4, 8, 4), 16, [4, 8]),
    ],
    ids=str,
)
def test_few_widths_are_measured_among_them_the_narrowest(grid: Any, full: int, expected: list[int]) -> None:
    assert widths_to_measure(grid, full) == expected


def test_masks_have_curves_too(make_problem: Make) -> None:
    problem = make_problem(granularity="weights", budget=("nonzero=40%", "trials=5"))
    found = sensitivity(problem, create_study(problem), Listener())
    assert set(found) == set(problem.structure.widths)
    assert all(curve.losses[0] > 0 for curve in found.values())


def test_where_time_is_short_sensitivity_takes_its_share_of_it(
    make_problem: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(budget=("flops=50%", "time=1s"))
    study, watcher, notes = create_study(problem), Watcher(), []
    monkeypatch.setattr(watcher, "note", notes.append, raising=False)
    start_clock(problem.budget, study)
    monkeypatch.setattr(sensitivities, "SHARE", 1e-6)
    found = sensitivity(problem, study, watcher)
    record, names = study.user_attrs[SENSITIVITY], list(problem.structure.widths)
    assert watcher.done == names[:1]
    assert record["samples"] == LESS[-1].samples
    assert all(len(points) == LESS[-1].points for points in record["points"].values())
    assert f"sensitivity was measured for 1 of {len(names)} groups" in notes[-1]
    assert recorded_curves(problem.budget_model, study) == found
    assert all(curve.losses[0] > 0 for curve in found.values())
    assert sensitivity(problem, study, watcher) == found
    assert watcher.done == names[:1]


def test_a_group_that_was_not_measured_loses_what_others_do() -> None:
    points = {"a": {"2": 3.0, "5": 1.0}, "b": {"10": 5.0}, "c": {"4": None}}
    full = {"a": 10, "b": 20, "c": 8, "d": 100}
    assert borrow_points(points, full, [20, 50, 75], 100) == {"20": 4.0, "50": 3.0, "75": 1.5}
    assert borrow_points({"c": points["c"]}, full, [20], 100) == {"20": None}


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1e9, FULL), (27 * 5 * 0.6, LESS[0]), (27 * 5 * 0.3, LESS[1]), (0.0, LESS[-1])]
)
def test_effort_is_what_fits_into_the_time(
    seconds: float, expected: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(efforts, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def take(samples: int) -> None:
        now[0] += samples * 1e-3

    assert affordable(take, 27, seconds) == expected
