"""What candidates are recovered with is computed once, and again only where its inputs are others."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from autoprune.pruning_search import Problem
from autoprune.pruning_search.problem.recovery_cache import CachedResult

Make = Callable[..., Problem]


def results(problem: Problem) -> dict[str, object]:
    recovery = problem.recovery
    return {
        "recipe": recovery.recipe,
        "batches": recovery.cached_batches,
        "repair": recovery.repair,
    }


def recomputed(problem: Problem, other: Problem) -> set[str]:
    """Names of the results that the other problem does not share."""
    one = results(problem)
    return {name for name, result in results(other).items() if result is not one[name]}


def with_settings(problem: Problem, **settings: object) -> Problem:
    return replace(problem, config=problem.config.model_copy(update=settings))


def test_another_budget_or_meter_shares_all_results(make_problem: Make) -> None:
    problem = make_problem(distill=0.5)
    cheaper = replace(problem, budget_model=replace(problem.budget_model, original_latency=1e-3), meter=None)
    assert None not in results(problem).values()
    assert recomputed(problem, cheaper) == set()
    assert problem.recovery.cached_batches[0].teacher_logits is not None


def test_a_rebuilt_plan_shares_batches_and_moments(make_problem: Make) -> None:
    problem = make_problem()
    rebuilt = with_settings(problem, rebuild=True)
    assert results(rebuilt)["recipe"] == results(problem)["recipe"]
    assert recomputed(problem, rebuilt) <= {"recipe"}


def test_another_seed_draws_other_batches_and_shares_the_moments(make_problem: Make) -> None:
    problem = make_problem()
    assert recomputed(problem, with_settings(problem, seed=1)) == {"batches", "recipe"}


def test_other_calibration_batches_give_other_moments(make_problem: Make) -> None:
    problem = make_problem()
    subject = replace(problem.subject, calibration=list(problem.subject.calibration[:1]))
    assert recomputed(problem, replace(problem, subject=subject)) == {"repair"}


def test_another_training_split_gives_other_batches(make_problem: Make) -> None:
    problem = make_problem()
    other = replace(problem.data, train=replace(problem.data.train))
    again = replace(problem, subject=replace(problem.subject, data=other))
    assert recomputed(problem, again) >= {"batches"}
    assert recomputed(problem, again) <= {"batches", "recipe"}


def test_without_compensation_there_is_nothing_to_share(make_problem: Make) -> None:
    problem = make_problem()
    without = with_settings(problem, compensate=False)
    assert problem.recovery.repair.compensates
    assert not without.recovery.repair.compensates


@pytest.mark.parametrize("result", [None, 3])
def test_a_result_is_computed_once_for_the_same_inputs(result: int | None) -> None:
    cached: CachedResult[int | None] = CachedResult()
    calls = []

    def compute() -> int | None:
        calls.append(1)
        return result

    one, other = [1], [1]
    for objects, values in [((one,), (1,)), ((one,), (1.0,)), ((other,), (1,)), ((other,), (2,))]:
        assert cached.get(compute, objects=objects, values=values) == result
    assert len(calls) == 3


def test_a_problem_has_few_attributes() -> None:
    public = {name for name in dir(Problem) if not name.startswith("_")} | {f.name for f in fields(Problem)}
    assert len(public) < 15
