from collections.abc import Callable

import torch

from autoprune.pruning_search import Problem
from autoprune.pruning_search.evaluation.evaluate import cut_model, evaluate_candidate, recover


def half(problem: Problem) -> dict[str, int]:
    return {name: max(1, width // 2) for name, width in problem.structure.widths.items()}


def test_candidates_are_compensated_unless_the_settings_say_no(make_problem: Callable[..., Problem]) -> None:
    loss = {}
    for compensate in (True, False):
        problem = make_problem(compensate=compensate, finetune_steps=0, budget=("flops=80%",))
        candidate = evaluate_candidate(problem, half(problem))
        assert ("compensate" in candidate.seconds) == compensate
        loss[compensate] = candidate.score.loss
    assert loss[True] < loss[False]


def test_the_same_plan_is_recovered_to_the_same_weights(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(budget=("flops=80%",))
    plan = problem.pruning.plan(half(problem))
    first, second = recover(problem, plan), recover(make_problem(budget=("flops=80%",)), plan)
    weights = second.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in first.state_dict().items())
    cut = cut_model(problem, plan).state_dict()
    assert {name for name, tensor in cut.items() if not torch.equal(tensor, weights[name])}


def test_masks_have_nothing_to_compensate(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(granularity="weights", finetune_steps=0, budget=("nonzero=60%",))
    assert problem.recovery.repair.compensator is None
    assert "compensate" not in evaluate_candidate(problem, half(problem)).seconds


def test_rebuilding_comes_closer_still(make_problem: Callable[..., Problem]) -> None:
    loss = {}
    for rebuild in (True, False):
        problem = make_problem(rebuild=rebuild, finetune_steps=0, budget=("flops=80%",))
        candidate = evaluate_candidate(problem, half(problem))
        assert ("rebuild" in candidate.seconds) == rebuild
        loss[rebuild] = candidate.score.loss
    assert loss[True] < loss[False]
