import importlib
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import optuna
import pytest

from autoprune.pruning_search import Problem, create_study, run
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import (
    DEEPER,
    FLOOR,
    LEVELS,
    STEP,
    floor_of,
    levels_of,
    recorded_floor,
)
from autoprune.pruning_search.proposals.sensitivity import SAMPLES, loss_of
from autoprune.pruning_search.proposals.spaces import make_space
from autoprune.pruning_search.proposals.spaces.base import LEVEL
from autoprune.pruning_search.proposals.warm_start import EXACT, previews, warm_starts
from autoprune.review import Listener
from autoprune.study.attributes import BUDGET_LEVELS

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]

module = importlib.import_module("autoprune.pruning_search.proposals.budget_levels")


def tolerate(monkeypatch: pytest.MonkeyPatch, rise: float) -> None:
    """Call so much of a rise of the loss next to nothing."""
    monkeypatch.setattr(module, "LITTLE", rise)


def test_levels_go_lower_just_as_long_as_next_to_nothing_is_lost(
    make_problem: Make, curves_of: Curves, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem()
    curves, full = curves_of(problem), loss_of(problem, problem.structure.widths, SAMPLES)
    by_level = {
        round(problem.budget_model.used(s.widths), 2): s for s in warm_starts(problem, curves, LEVELS)
    }
    cheapest = by_level[min(by_level)]
    lost = loss_of(problem, cheapest.widths, SAMPLES) / full - 1
    assert lost > 0
    tolerate(monkeypatch, 0.9 * lost)
    assert levels_of(problem, curves) == LEVELS
    tolerate(monkeypatch, 1.1 * lost)
    assert levels_of(problem, curves)[: len(LEVELS) + 1] == (*LEVELS, STEP * LEVELS[-1])


def test_no_level_is_below_the_narrowest_plan(
    make_problem: Make, curves_of: Curves, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(min_density=0.1)
    tolerate(monkeypatch, math.inf)
    levels = levels_of(problem, curves_of(problem))
    least = problem.budget_model.used(problem.budget_model.narrowest)
    assert levels[-1] > least >= STEP * levels[-1]
    assert all(high > low for high, low in pairwise(levels))


@pytest.mark.parametrize("levels", [LEVELS, (*LEVELS, *DEEPER)])
def test_the_usual_levels_have_the_usual_floor(levels: tuple[float, ...]) -> None:
    assert floor_of(levels) == FLOOR
    assert floor_of((*levels, STEP * levels[-1])) == STEP * levels[-1]


def test_plans_are_tried_at_lower_levels(make_problem: Make, curves_of: Curves) -> None:
    problem, lower = make_problem(), (*LEVELS, 0.15)
    curves = curves_of(problem)
    for starts in (warm_starts(problem, curves, lower), previews(problem, curves, lower)):
        shares = [
            problem.budget_model.used(start.widths) for start in starts if start.origin.startswith(EXACT)
        ]
        assert 0.1 < min(shares) <= 0.15


@pytest.mark.parametrize("space", ["criterion", "sparsity"])
def test_suggestions_reach_down_to_the_floor(make_problem: Make, curves_of: Curves, space: str) -> None:
    problem = make_problem(space=space)
    curves, study = curves_of(problem), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    form = make_space(problem, curves, 0.1)
    shares = [problem.budget_model.used(form.suggest(study.ask())) for _ in range(50)]
    assert min(shares) < FLOOR - 0.02
    if space != "sparsity":
        assert study.trials[0].distributions[LEVEL].to_internal_repr(10) == 10
        cheap = warm_starts(problem, curves, (*LEVELS, 0.15))
        least = min(cheap, key=lambda start: problem.budget_model.used(start.widths))
        assert form.parameters(least.widths)[LEVEL] == round(100 * problem.budget_model.used(least.widths))


@pytest.mark.parametrize("preview", ["always", "never"])
def test_a_study_chooses_its_levels_once(
    make_problem: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preview: str
) -> None:
    tolerate(monkeypatch, math.inf)
    problem = make_problem(preview=preview, budget=("flops=50%", "trials=2"), space="criterion")
    run(problem, study := create_study(problem), WeightStore(tmp_path), Listener())
    levels = study.user_attrs[BUDGET_LEVELS]
    assert recorded_floor(study) == levels[-1] < FLOOR
    tolerate(monkeypatch, -1.0)
    more = make_problem(preview=preview, budget=("flops=50%", "trials=14"), space="criterion")
    run(more, study := create_study(more), WeightStore(tmp_path), Listener())
    assert study.user_attrs[BUDGET_LEVELS] == levels
    ranges = {t.distributions[LEVEL] for t in study.trials if LEVEL in t.distributions}
    assert {(r.low, r.high) for r in ranges} == {(round(100 * levels[-1]), 100)}
    assert min(more.budget_model.used(trial.user_attrs["widths"]) for trial in study.trials) <= levels[-1]
