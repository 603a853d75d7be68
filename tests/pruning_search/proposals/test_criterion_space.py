from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from autoprune.pruning_search import Problem
from autoprune.pruning_search.proposals.allocation_costs import task_of
from autoprune.pruning_search.proposals.allocator import Curve, Greedy
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.spaces import CriterionSpace, SparsitySpace, make_space
from autoprune.pruning_search.proposals.spaces.base import LEVEL
from autoprune.pruning_search.proposals.spaces.coupled_groups import MOST, coupled_groups
from autoprune.pruning_search.proposals.warm_start import EXACT, GREEDY, warm_starts

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]


@pytest.mark.parametrize("budget", ["flops=50%", "params=40%", "flops=60%,params=50%"])
def test_every_suggestion_meets_the_budget_and_uses_its_level(
    make_problem: Make, curves_of: Curves, budget: str
) -> None:
    problem = make_problem(budget=(budget, "trials=5"), space="criterion")
    curves = curves_of(problem)
    space = make_space(problem, curves)
    assert isinstance(space, CriterionSpace)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    plans = set()
    for _ in range(40):
        trial = study.ask()
        widths = space.suggest(trial)
        level = trial.params[LEVEL] / 100
        assert problem.budget_model.meets(widths, level)
        # A unit of the residual stream is an eighth of the cost.
        assert problem.budget_model.used(widths) > level - 0.15
        assert all(width in curves[name].widths for name, width in widths.items())
        plans.add(tuple(widths.values()))
    assert len(plans) > 20


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, SparsitySpace),
        ({"space": "sparsity"}, SparsitySpace),
        ({"space": "criterion"}, CriterionSpace),
        ({"coefficients": "affine"}, CriterionSpace),
    ],
)
def test_widths_are_searched_themselves_but_for_shifts(
    make_problem: Make, curves_of: Curves, settings: dict[str, str], kind: type
) -> None:
    problem = make_problem(**settings)
    assert isinstance(make_space(problem, curves_of(problem)), kind)


def test_equal_parameters_give_equal_plans(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    curves = curves_of(problem)
    runs = []
    for _ in range(2):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
        space = CriterionSpace(problem, curves)
        runs.append([space.suggest(study.ask()) for _ in range(10)])
    assert runs[0] == runs[1]


def test_all_coefficients_equal_is_the_greedy_warm_start(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    curves = curves_of(problem)
    study = optuna.create_study()
    study.enqueue_trial({LEVEL: 75, **dict.fromkeys(problem.structure.widths, 1.5)})
    assert (
        CriterionSpace(problem, curves).suggest(study.ask())
        == Greedy(task_of(problem.budget_model, curves)).at(0.75).widths
    )


def test_a_larger_coefficient_keeps_a_group_wider(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    curves = curves_of(problem)
    study = optuna.create_study()
    space = CriterionSpace(problem, curves)
    moved = 0
    for name in problem.structure.widths:
        plans = []
        for value in (0.5, 1.0, 2.0):
            others = dict.fromkeys(problem.structure.widths, 1.0)
            study.enqueue_trial({LEVEL: 75, **others, name: value})
            plans.append(space.suggest(study.ask())[name])
        assert plans == sorted(plans)
        moved += plans[0] < plans[-1]
    # All but the last layer, whose units cost next to nothing.
    assert moved == len(problem.structure.widths) - 1


def test_the_parameters_of_a_plan_lead_back_near_it(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    curves = curves_of(problem)
    space, study = CriterionSpace(problem, curves), optuna.create_study()
    distances = []
    for start in warm_starts(problem, curves, LEVELS):
        study.enqueue_trial(space.parameters(start.widths))
        widths = space.suggest(study.ask())
        assert problem.budget_model.meets(widths)
        distances += [abs(widths[n] - start.widths[n]) / full for n, full in problem.structure.widths.items()]
    assert np.mean(distances) < 0.1


def test_warm_starts_contain_the_plans_by_sensitivity(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    curves = curves_of(problem)
    starts = warm_starts(problem, curves, LEVELS)
    origins = [start.origin for start in starts]
    assert origins[0] == EXACT
    assert set(origins) <= {GREEDY, EXACT, "uniform", "global l2", "global taylor"}
    assert len({tuple(sorted(start.widths.items())) for start in starts}) == len(starts)
    assert all(problem.budget_model.meets(start.widths) for start in starts)


PARTS = (("a", 64), ("b", 128))


def group(name: str, width: int = 64, kind: str = "channels") -> SimpleNamespace:
    return SimpleNamespace(name=name, width=width, kind=kind, least=1)


def test_up_to_forty_groups_have_a_parameter_each() -> None:
    groups = [group(f"layer{i}") for i in range(MOST)]
    assert coupled_groups(groups) == {g.name: (g.name,) for g in groups}


def test_many_groups_are_tied_to_neighbours_of_their_kind() -> None:
    blocks = [
        group(f"blocks.{i}.{part}", width) for i in range(30) for part, width in (("a", 64), ("b", 128))
    ]
    found = coupled_groups([*blocks, group("stem")])
    assert len(found) <= MOST
    assert sorted(name for run in found.values() for name in run) == sorted(
        g.name for g in [*blocks, group("stem")]
    )
    assert found["blocks.0.a to blocks.1.a"] == ("blocks.0.a", "blocks.1.a")
    assert found["stem"] == ("stem",)


def test_groups_that_have_nothing_in_common_stay_apart() -> None:
    groups = [group(f"block{i}x", width=8 + i) for i in range(50)]
    assert len(coupled_groups(groups)) == 50
