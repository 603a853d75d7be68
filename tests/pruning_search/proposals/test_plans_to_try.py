from collections.abc import Callable

import optuna
import pytest

from autoprune.errors import BudgetError
from autoprune.pruning_search import Problem
from autoprune.pruning_search.problem.budget_fit import fit
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import FLOOR, LEVELS
from autoprune.pruning_search.proposals.spaces import SparsitySpace, make_space
from autoprune.pruning_search.proposals.warm_start import EXACT, GREEDY, warm_starts

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]


@pytest.mark.parametrize("budget", ["flops=50%", "params=40%", "size=60%", "flops=60%,params=50%"])
def test_shrunk_widths_meet_the_budget_and_are_not_far_below(make_problem: Make, budget: str) -> None:
    problem = make_problem(budget=(budget, "trials=5"))
    full = problem.structure.widths
    assert not problem.budget_model.meets(full)
    widths = fit(problem.budget_model, full, FLOOR)
    over = problem.budget_model.excess(widths)
    assert all(value <= 0 for value in over.values())
    assert max(over.values()) > -0.1
    assert fit(problem.budget_model, widths, FLOOR) == widths


def test_widths_within_the_budget_are_left_alone_unless_far_below_it(make_problem: Make) -> None:
    problem = make_problem()
    half = {
        name: problem.budget_model.grids[name].nearest(0.6 * w)
        for name, w in problem.structure.widths.items()
    }
    assert fit(problem.budget_model, half, FLOOR) == half
    grown = fit(problem.budget_model, problem.budget_model.narrowest, FLOOR)
    flops = [problem.pruning.costs.flops(widths) for widths in (problem.budget_model.narrowest, grown)]
    assert flops[0] < 0.8 * flops[1]
    assert problem.budget_model.used(grown) <= FLOOR


def test_a_budget_that_no_plan_meets_says_what_the_narrowest_needs(make_problem: Make) -> None:
    with pytest.raises(
        BudgetError, match=r"no plan meets flops=.*the narrowest one needs .*%.*--min-density"
    ):
        make_problem(budget=("flops=0.5%",), min_density=0.5)


def test_warm_starts_are_distinct_and_within_the_budget(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    starts = warm_starts(problem, curves_of(problem), LEVELS)
    assert {start.origin for start in starts} - {GREEDY} == {EXACT, "uniform", "global l2", "global taylor"}
    assert len({tuple(start.widths.values()) for start in starts}) == len(starts) >= 9
    assert all(problem.budget_model.meets(start.widths) for start in starts)
    top = next(start for start in starts if start.origin == "uniform")
    shares = [top.widths[name] / width for name, width in problem.structure.widths.items()]
    # As even as whole steps allow, the widest being one of 12 to 24 units.
    assert max(shares) - min(shares) < 0.15


def test_without_a_limit_the_original_model_is_tried_first(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem(budget=("trials=5",))
    first = warm_starts(problem, curves_of(problem), LEVELS)[0]
    assert (first.origin, first.widths) == ("original", problem.structure.widths)


@pytest.mark.parametrize("budget", ["flops=1G", "size=1GB", "flops=1G,params=1G"])
def test_a_budget_that_asks_for_no_cut_leaves_something_to_try(
    make_problem: Make, curves_of: Curves, budget: str
) -> None:
    problem = make_problem(budget=(budget, "trials=5"))
    full, starts = problem.structure.widths, warm_starts(problem, curves_of(problem), LEVELS)
    assert starts[0].widths == full
    shares = [problem.budget_model.used(start.widths) for start in starts]
    assert min(shares) < 0.4
    assert len({round(share, 1) for share in shares}) > 4
    half = {name: problem.budget_model.grids[name].nearest(0.6 * width) for name, width in full.items()}
    assert fit(problem.budget_model, half, FLOOR) == half


def test_enqueued_parameters_come_back_as_the_widths(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    form, study = SparsitySpace(problem.budget_model), optuna.create_study()
    for start in warm_starts(problem, curves_of(problem), LEVELS):
        study.enqueue_trial(form.parameters(start.widths))
        assert form.suggest(study.ask()) == start.widths


@pytest.mark.parametrize("space", ["auto", "criterion", "sparsity"])
def test_every_suggestion_is_within_the_budget(make_problem: Make, curves_of: Curves, space: str) -> None:
    problem = make_problem(space=space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    form = make_space(problem, curves_of(problem))
    for _ in range(50):
        widths = form.suggest(study.ask())
        assert problem.budget_model.meets(widths)
        assert all(
            problem.budget_model.narrowest[n] <= w <= problem.structure.widths[n] for n, w in widths.items()
        )
