import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from torch import nn

import autoprune
from autoprune.errors import StudyError
from autoprune.pruning_search import (
    Problem,
    create_study,
    describe_other_weights,
    prepare,
    run,
    test_front,
    trial_model,
)
from autoprune.pruning_search.coordination.retry import requeue_lost
from autoprune.pruning_search.evaluation.evaluate import OverBudget, evaluate_candidate
from autoprune.pruning_search.persistence.study import study_name
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.spaces import make_space
from autoprune.review import Listener
from autoprune.tasks import Data, evaluate

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]
test_front.__test__ = False  # type: ignore[attr-defined]


class Watcher(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.notes: list[str] = []

    def trial_started(self, number: int, *rest: Any) -> None:
        self.started.append(number)

    def note(self, text: str) -> None:
        self.notes.append(text)


def searched(problem: Problem, folder: Path, watcher: Watcher | None = None) -> optuna.Study:
    study = create_study(problem)
    run(problem, study, WeightStore(folder), watcher or Watcher())
    return study


def test_the_python_call_gives_a_front_within_the_budget(
    tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    study = autoprune.search(
        tiny,
        digits,
        budget="flops=50%",
        trials=8,
        storage=f"sqlite:///{tmp_path}/study.db",
        finetune_steps=10,
        latency_seconds=0.2,
    )
    front = study.front()
    assert len(front) >= 2
    assert (front["flops_ratio"] <= 0.5).all()
    assert front["test_accuracy"].notna().all()
    best = study.best()
    assert best.values[0] == front["accuracy"].max() > 0.5
    attributes = best.user_attrs
    assert attributes["latency_low"] <= attributes["latency_ratio"] <= attributes["latency_high"]
    stages = {"sampler", "cut", "latency", "recalibrate", "proxy", "finetune", "evaluate"}
    assert stages <= set(attributes["seconds"])
    assert set(attributes["widths"]) == set(study.problem.structure.widths)
    assert study.optuna.metric_names == ["accuracy", "flops"]
    assert set(study.optuna.user_attrs["test"]) == {"baseline", *map(str, front["trial"])}
    model = study.model()
    assert evaluate(model, digits.validation, digits.task).value == pytest.approx(best.values[0])
    kept = {
        int(file.name.split("-")[1].split(".")[0]) for file in tmp_path.glob("autoprune_artifacts/*/trial-*")
    }
    assert kept == set(front["trial"])


def test_the_same_seed_gives_the_same_trials_bit_for_bit(make_problem: Make, tmp_path: Path) -> None:
    runs = []
    for number in range(2):
        problem = make_problem(storage=f"sqlite:///{tmp_path}/{number}.db", budget=("flops=50%", "trials=18"))
        study = searched(problem, tmp_path / str(number))
        runs.append([(trial.params, trial.values, trial.user_attrs["plan"]) for trial in study.trials])
    assert runs[0] == runs[1]
    assert any(trial.user_attrs["origin"] == "sampler" for trial in study.trials)


def test_no_plan_is_evaluated_twice(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(
        min_density=0.95, budget=("flops=95%", "trials=200"), finetune_steps=1, sampler="random"
    )
    watcher = Watcher()
    study = searched(problem, tmp_path, watcher)
    evaluated = [t.user_attrs["plan"] for t in study.trials if "duplicate_of" not in t.user_attrs]
    assert len(set(evaluated)) == len(evaluated)
    repeated = [t for t in study.trials if "duplicate_of" in t.user_attrs]
    assert repeated
    assert all(t.values == study.trials[t.user_attrs["duplicate_of"]].values for t in repeated)
    assert "known already" in watcher.notes[-1]


def test_a_second_run_continues_and_asks_for_no_more_than_the_budget(
    make_problem: Make, tmp_path: Path
) -> None:
    first = searched(make_problem(budget=("flops=50%", "trials=3")), tmp_path)
    values = [trial.values for trial in first.trials if trial.state is TrialState.COMPLETE]
    study = searched(make_problem(budget=("flops=50%", "trials=5")), tmp_path)
    ended = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len(ended) == 5
    assert [trial.values for trial in ended[:3]] == values
    watcher = Watcher()
    searched(make_problem(budget=("flops=50%", "trials=5")), tmp_path, watcher)
    assert watcher.started == []


def test_a_study_is_named_after_the_data_that_it_was_given(
    make_problem: Make, tiny: nn.Module, digits: Data
) -> None:
    config = make_problem().config.model_copy(update={"study": None})
    problem = prepare(config, Listener(), model=tiny, data=dataclasses.replace(digits, name="mine"))
    assert study_name(problem) == "TinyNet-mine-flops=50pct"


@pytest.mark.parametrize(
    "changed", [{"lr": 0.5}, {"budget": ("flops=40%", "trials=6")}, {"criterion": "l1"}], ids=str
)
def test_other_settings_do_not_mix_into_a_study(
    make_problem: Make, tmp_path: Path, changed: dict[str, Any]
) -> None:
    create_study(make_problem(study="one"))
    with pytest.raises(StudyError, match="made with other settings"):
        create_study(make_problem(study="one", **changed))


class Stubborn(optuna.samplers.RandomSampler):
    """Always suggests the same."""

    def sample_independent(self, *_arguments: Any, **_named: Any) -> Any:
        return _arguments[-1].low


def test_a_sampler_that_repeats_itself_gives_way_to_chance(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(space="sparsity", budget=("flops=50%", "trials=20"), gaps=False, finetune_steps=0)
    study = create_study(problem)
    study.sampler = Stubborn()
    run(problem, study, WeightStore(tmp_path), Watcher())
    drawn = [
        trial.user_attrs["plan"]
        for trial in study.trials
        if trial.user_attrs["origin"] == "sampler" and trial.values and "duplicate_of" not in trial.user_attrs
    ]
    assert len(set(drawn)) == len(drawn) > 2


def test_a_setting_that_came_later_was_at_its_default(make_problem: Make) -> None:
    study = create_study(make_problem(study="one"))
    record = study.user_attrs["autoprune"]
    for key in ("augment", "mix", "rebuild"):
        del record["config"][key]
    study.set_user_attr("autoprune", record)
    create_study(make_problem(study="one"))
    with pytest.raises(StudyError, match="rebuild was False and is True"):
        create_study(make_problem(study="one", rebuild=True))


def test_a_running_trial_of_a_dead_process_is_run_again(
    make_problem: Make, curves_of: Curves, tmp_path: Path
) -> None:
    problem = make_problem(budget=("flops=50%", "trials=2"), finetune_steps=1)
    study = searched(problem, tmp_path)
    lost = study.ask({})
    lost.set_user_attr("process", {"host": platform.node(), "pid": 2**22 + 1})
    make_space(problem, curves_of(problem)).suggest(lost)
    more = make_problem(budget=("flops=50%", "trials=14"), finetune_steps=1)
    study = searched(more, tmp_path)
    assert study.trials[lost.number].state is TrialState.FAIL
    assert study.trials[lost.number].user_attrs["reason"] == "its process died"

    def again() -> list[FrozenTrial]:
        return [trial for trial in study.trials if trial.user_attrs.get("retry_of") == lost.number]

    assert [trial.params for trial in again()] == [lost.params]
    # A later suggestion of the same plan has its result, and took nobody's place.
    study.enqueue_trial(lost.params, user_attrs={"widths": again()[0].user_attrs["widths"]})
    study = searched(make_problem(budget=("flops=50%", "trials=15"), finetune_steps=1), tmp_path)
    assert any(trial.user_attrs.get("duplicate_of") == again()[0].number for trial in study.trials)
    assert len(again()) == 1


def test_a_trial_that_kills_its_process_twice_is_given_up(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem()
    study, curves = create_study(problem), curves_of(problem)
    for _ in range(2):
        trial = study.ask()
        trial.set_user_attr("process", {"host": platform.node(), "pid": 2**22 + 1})
        make_space(problem, curves).suggest(trial)
        requeued = requeue_lost(study)
    assert requeued == 0
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2


def test_a_diverging_trial_fails_alone_with_its_reason(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(lr=1e30, finetune_steps=20, budget=("flops=50%", "trials=3"))
    study = searched(problem, tmp_path)
    assert [trial.state for trial in study.trials[:3]] == [TrialState.FAIL] * 3
    assert "lower --lr" in study.trials[0].user_attrs["reason"]


def test_over_a_latency_budget_nothing_is_trained(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(
        latency=True, latency_seconds=0.1, budget=("latency=0.001ms", "trials=3"), finetune_steps=10**9
    )
    study = searched(problem, tmp_path)
    assert {trial.state for trial in study.trials[:3]} == {TrialState.PRUNED}
    assert study.trials[0].constraints["latency"] > 0
    assert study.trials[0].user_attrs["reason"].startswith("over budget: latency")
    assert study.metric_names == ["accuracy", "flops", "latency_ms"]


def test_over_a_flops_budget_nothing_is_even_cut(make_problem: Make) -> None:
    problem = make_problem(finetune_steps=10**9)
    with pytest.raises(OverBudget, match=r"flops 100\.0% over"):
        evaluate_candidate(problem, problem.structure.widths)


def test_lost_weights_are_made_again_the_same(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(budget=("flops=50%", "trials=3"))
    store = WeightStore(tmp_path / "kept")
    study = create_study(problem)
    run(problem, study, store, Watcher())
    best = study.best_trials[0]
    model, plan = trial_model(problem, best, store)
    file = next((tmp_path / "kept").glob(f"trial-{best.number}.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    again, _ = trial_model(problem, best, store)
    file.unlink()
    third, same = trial_model(problem, best, WeightStore(tmp_path / "nothing"))
    assert plan == same
    for other in (again, third):
        pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert describe_other_weights(problem, best, other) == []
    with torch.no_grad():
        third.head.bias += 1
    (line,) = describe_other_weights(problem, best, third)
    assert f"where the search had {best.values[0]:.4f}" in line


def test_weights_that_were_not_scored_count_as_lost(make_problem: Make, tmp_path: Path) -> None:
    problem, store = make_problem(budget=("flops=50%", "trials=1")), WeightStore(tmp_path / "kept")
    study = create_study(problem)
    run(problem, study, store, Watcher())
    (best,) = study.best_trials
    model, plan = trial_model(problem, best, store)
    assert plan is not None
    other, _ = trial_model(problem, best, WeightStore(tmp_path / "nothing"))
    with torch.no_grad():
        other.head.bias += 1
    store.save(best.number, other, plan)
    again, _ = trial_model(problem, best, store)
    assert torch.equal(again.head.bias, model.head.bias)


@pytest.mark.parametrize(
    "change",
    [{"widths": {"../x": 3}}, {"widths": [1]}, {"widths": None}, {"duplicate_of": "../../other"}],
    ids=str,
)
def test_a_trial_that_was_changed_by_hand_is_refused(
    make_problem: Make, tmp_path: Path, change: dict[str, Any]
) -> None:
    problem, store = make_problem(budget=("flops=50%", "trials=1")), WeightStore(tmp_path / "kept")
    study = create_study(problem)
    run(problem, study, store, Watcher())
    (best,) = study.best_trials
    for key, value in change.items():
        best.user_attrs[key] = value
    with pytest.raises(StudyError):
        trial_model(problem, best, store)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "nsga3", "random"])
def test_every_sampler_suggests_beyond_the_warm_starts(
    make_problem: Make, tmp_path: Path, sampler: str
) -> None:
    problem = make_problem(sampler=sampler, budget=("flops=50%", "trials=18"), finetune_steps=1)
    study = searched(problem, tmp_path)
    suggested = [trial for trial in study.trials if trial.user_attrs["origin"] == "sampler"]
    assert suggested
    assert all(trial.user_attrs["flops_ratio"] <= 0.5 for trial in study.trials if trial.values)
