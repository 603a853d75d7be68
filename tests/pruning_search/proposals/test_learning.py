import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from autoprune.config.budget import parse_budget
from autoprune.config.settings import load_config
from autoprune.criteria.learned import LearnedCriterion
from autoprune.errors import BudgetError, ConfigError, CriterionError, StudyError
from autoprune.pruning_search import Problem, create_study, prepare, run
from autoprune.pruning_search.evaluation.evaluate import evaluate_candidate
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.width_grid import StepGrid, grids_of
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.learned_criterion import allocate, learn, read_configured
from autoprune.pruning_search.proposals.sensitivity import measure_curves
from autoprune.pruning_search.proposals.warm_start import EXACT, LEARNED, warm_starts
from autoprune.review import Listener, explain
from autoprune.study.origins import SAMPLER
from autoprune.tasks import Data
from autoprune.workflows.budget_cut import Within, widths_within

Make = Callable[..., Problem]


@pytest.fixture
def searched(make_problem: Make) -> tuple[Problem, object]:
    settings = {"early_stopping": False, "finetune_steps": 1, "space": "criterion"}
    problem = make_problem(budget=("flops=50%", "trials=22"), **settings)
    study = create_study(problem)
    run(problem, study, WeightStore.beside(problem.config.storage, study.study_name), Listener())
    return problem, study


def cost_of(problem: Problem, widths: dict[str, int]) -> dict[str, float]:
    return {"flops": float(problem.pruning.costs.costs(widths).flops)}


def test_a_trial_gives_the_criterion_that_gives_it_back(
    searched: tuple[Problem, object], tmp_path: Path
) -> None:
    problem, study = searched
    trials = [t for t in study.trials if t.values and t.user_attrs["origin"] == SAMPLER]
    assert trials
    for trial in trials:
        learned = learn(problem, study, trial)
        assert LearnedCriterion.from_json(learned.to_json()) == learned
        widths = trial.user_attrs["widths"]
        level = cost_of(problem, widths)
        found = allocate(learned, problem.pruning, level, problem.budget_model.grids)
        assert problem.pruning.costs.costs(found).flops <= level["flops"]
        if "duplicate_of" not in trial.user_attrs:
            assert found == widths
        told = explain(study, trial.number)
        assert {item.group: item.scale for item in told.groups} == learned.scales
        assert all(item.losses == learned.groups[item.group].losses for item in told.groups)
    made = learned.provenance
    assert (made.model, made.weights, made.study) == (
        problem.subject.name,
        problem.subject.weights,
        study.study_name,
    )
    assert made.budget == ("flops=50%",)
    assert made.quality == pytest.approx(trials[-1].values[0], abs=1e-5)
    assert set(made.versions) == {"autoprune", "torch", "optuna"}


def test_warm_starts_give_a_criterion_too(searched: tuple[Problem, object]) -> None:
    problem, study = searched
    exact = next(t for t in study.trials if t.user_attrs["origin"] == EXACT)
    assert set(learn(problem, study, exact).scales.values()) == {1.0}
    uniform = next(t for t in study.trials if t.user_attrs["origin"].startswith("global"))
    learned = learn(problem, study, uniform)
    widths = uniform.user_attrs["widths"]
    found = allocate(learned, problem.pruning, cost_of(problem, widths), problem.budget_model.grids)
    shares = [abs(found[name] - width) / problem.structure.widths[name] for name, width in widths.items()]
    # Units of the last layer cost next to nothing: how many of them stay is all the same.
    assert sum(shares[:-1]) / len(shares[:-1]) < 0.15
    waiting = study.ask()
    with pytest.raises(StudyError, match="was not evaluated"):
        learn(problem, study, study.trials[waiting.number])


def test_another_budget_is_met_and_another_model_refused(searched: tuple[Problem, object]) -> None:
    problem, study = searched
    learned = learn(problem, study, study.best_trials[-1])
    full = cost_of(problem, problem.structure.widths)["flops"]
    before = None
    for share in (0.2, 0.35, 0.6, 0.9):
        widths = allocate(learned, problem.pruning, {"flops": share * full}, problem.budget_model.grids)
        spent = problem.pruning.costs.costs(widths).flops / full
        assert share - 0.2 < spent <= share
        assert before is None or spent > before
        before = spent
    with pytest.raises(BudgetError, match="no plan of this criterion is within the budget"):
        allocate(learned, problem.pruning, {"flops": 0.001 * full}, problem.budget_model.grids)


def test_a_search_begins_with_what_another_one_learned(
    searched: tuple[Problem, object], make_problem: Make, tmp_path: Path
) -> None:
    problem, study = searched
    file = tmp_path / "criterion.json"
    learn(problem, study, study.best_trials[-1]).save(file)
    other = make_problem(criterion=str(file), budget=("flops=25%", "trials=3"))
    learned = read_configured(other.config, other.pruning)
    assert learned is not None
    curves = measure_curves(other, Listener())
    starts = warm_starts(other, curves, LEVELS, learned)
    from_criterion = [start for start in starts if start.origin == LEARNED]
    assert starts[0].origin == LEARNED
    assert from_criterion
    assert all(other.budget_model.used(start.widths) <= 1 for start in from_criterion)
    assert any(start.origin == f"global {file}" for start in starts)
    # What another search learns on top of it is made of the same base criteria.
    second = create_study(other)
    run(other, second, WeightStore.beside(other.config.storage, second.study_name), Listener())
    trial = next(t for t in second.trials if t.values)
    assert learn(other, second, trial).bases == ("l2",)


def test_any_criterion_cuts_to_a_budget_at_once(make_problem: Make) -> None:
    problem = make_problem()
    grids = problem.budget_model.grids
    found = {}
    for scope in ("local", "global"):
        within = Within(parse_budget(["flops=40%", "params=60%"]), scope)
        original = problem.budget_model.original_costs
        widths = widths_within(within, problem.config, problem.pruning, original, grids)
        costs = problem.pruning.costs.costs(widths)
        assert costs.flops <= 0.4 * original.flops
        assert costs.parameters <= 0.6 * original.parameters
        assert costs.flops > 0.3 * original.flops
        assert evaluate_candidate(problem, widths).costs.flops == costs.flops
        found[scope] = widths
    assert found["local"] != found["global"]


def test_on_coarse_steps_a_cut_fills_the_budget(make_problem: Make) -> None:
    problem = make_problem()
    original, full = problem.budget_model.original_costs, problem.structure.widths
    grids = {name: StepGrid(tuple(range(4, width, 4)) + (width,)) for name, width in full.items()}
    for share in range(30, 100, 5):
        within = Within(parse_budget([f"flops={share}%"]))
        exact, coarse = (
            widths_within(within, problem.config, problem.pruning, original, offered)
            for offered in (grids_of(problem.structure, load_config(None, {"round_to": "1"})), grids)
        )
        assert all(width in grids[name].widths for name, width in coarse.items())
        assert problem.pruning.costs.costs(coarse).flops <= share / 100 * original.flops
        for name in (name for name in full if coarse[name] < exact[name]):
            wider = coarse | {name: grids[name].wider(coarse[name])}
            assert problem.pruning.costs.costs(wider).flops > share / 100 * original.flops


@pytest.mark.parametrize("budget", ["trials=5", "flops=50%,time=3m", "latency=50%"])
def test_a_cut_takes_a_budget_that_can_be_counted(budget: str) -> None:
    with pytest.raises(ConfigError, match="without a search, only"):
        Within(parse_budget([budget]))


def test_groups_that_differ_are_named_before_a_search(
    searched: tuple[Problem, object], tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    problem, study = searched
    file = tmp_path / "criterion.json"
    learned = learn(problem, study, study.best_trials[-1])
    document = json.loads(learned.to_json())
    document["groups"]["conv9"] = document["groups"].pop("conv1")
    file.write_text(json.dumps(document))
    settings = {"criterion": str(file), "latency": False, "calibration_batches": 1}
    with pytest.raises(CriterionError, match="it knows nothing of the group 'conv1'"):
        prepare(load_config(None, settings), Listener(), model=tiny, data=digits)
