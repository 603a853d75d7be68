from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from autoprune.pruning_search import Problem, create_study, run, trial_model
from autoprune.pruning_search.coordination.plan_claims import plan_key
from autoprune.pruning_search.coordination.snapshot import Snapshot
from autoprune.pruning_search.evaluation.early_stopping import early_stopping_for
from autoprune.pruning_search.persistence.duplicates import find_duplicate
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.budget_levels import DEEPER, LEVELS
from autoprune.pruning_search.proposals.preview import LONG, PASSES, is_previewed
from autoprune.review import Listener, predictors
from autoprune.study.attributes import SENSITIVITY, UNTRAINED
from autoprune.study.front import front, summary
from autoprune.study.origins import EXACT, PREVIEW
from autoprune.tasks import evaluate

Make = Callable[..., Problem]


class Impatient(Listener):
    """Stops the search when the trial of a number begins."""

    def __init__(self, last: int) -> None:
        self.last = last

    def trial_started(self, number: int, *rest: object) -> None:
        if number == self.last:
            raise KeyboardInterrupt


def searched(problem: Problem, folder: Path) -> optuna.Study:
    study = create_study(problem)
    run(problem, study, WeightStore(folder), Listener())
    return study


def test_a_first_front_comes_before_anything_is_trained(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=2"))
    study = searched(problem, tmp_path)
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    previews = [trial for trial in trials if UNTRAINED in trial.user_attrs]
    trained = [trial for trial in trials if UNTRAINED not in trial.user_attrs]
    assert len(previews) == len(LEVELS + DEEPER)
    assert len(trained) == 2
    assert max(trial.number for trial in previews) < min(trial.number for trial in trained)
    for trial in previews:
        assert trial.user_attrs["origin"].endswith(PREVIEW)
        assert "rebuild" in trial.user_attrs["seconds"]
        assert "finetune" not in trial.user_attrs["seconds"]
    assert all("finetune" in trial.user_attrs["seconds"] for trial in trained)
    # Training begins where it gains most, before finer curves are there.
    assert trained[0].user_attrs["plan"] == previews[0].user_attrs["plan"]
    assert trained[0].user_attrs["flops_ratio"] == min(trial.user_attrs["flops_ratio"] for trial in trained)
    assert {item.trials for item in predictors(study)} == {len(trained)}
    counted = summary(study).trials
    assert (counted["PREVIEW"], counted["COMPLETE"]) == (len(previews), 2)


def test_a_preview_is_a_model_like_any_other(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=1"))
    study = searched(problem, tmp_path)
    preview = study.trials[1]
    for store in (WeightStore(tmp_path), WeightStore(tmp_path / "nothing")):
        model, _ = trial_model(problem, preview, store)
        score = evaluate(model, problem.splits.selection, problem.data.task)
        assert score.value == pytest.approx(preview.values[0])
    # Lost or not, what stands in the front can be taken from it.
    assert any(origin.endswith(PREVIEW) for origin in front(study)["origin"])


def test_curves_for_previews_are_in_the_time_of_the_search(make_problem: Make, tmp_path: Path) -> None:
    study = create_study(problem := make_problem(preview="always", budget=("flops=50%", "trials=1")))
    with pytest.raises(KeyboardInterrupt):
        run(problem, study, WeightStore(tmp_path), Impatient(0))
    before = study.user_attrs[SENSITIVITY]["seconds"]
    assert before > 0
    run(problem, study, WeightStore(tmp_path), Listener())
    assert study.user_attrs[SENSITIVITY]["seconds"] > before


def test_neither_the_sampler_nor_early_stopping_sees_previews(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=3"))
    study = searched(problem, tmp_path)
    seen = Snapshot(study).without_previews()
    assert len(seen.get_trials()) == len(study.trials) - len(LEVELS + DEEPER)
    early_stopping = early_stopping_for(problem, study)
    assert early_stopping is not None
    assert len(early_stopping.seen) == 3


def test_a_plan_is_not_known_by_its_preview(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=1"))
    study = searched(problem, tmp_path)
    # The widest plan: the one trial that counts had the narrowest.
    widths = study.trials[1].user_attrs["widths"]
    assert find_duplicate(problem, study, widths) is None
    known = find_duplicate(problem, study, widths, trained=False)
    assert known is not None
    assert known.number == 1
    assert plan_key(widths, None) != plan_key(widths, None, trained=False)


def test_an_interrupted_preview_goes_on(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=1"))
    study = create_study(problem)
    with pytest.raises(KeyboardInterrupt):
        run(problem, study, WeightStore(tmp_path), Impatient(2))
    run(problem, study, WeightStore(tmp_path), Listener())
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    plans = [trial.user_attrs["plan"] for trial in complete if UNTRAINED in trial.user_attrs]
    assert len(plans) == len(set(plans)) >= 2
    assert summary(study).trials["COMPLETE"] == 1


def test_interrupted_early_training_leaves_all_other_plans_to_be_tried(
    make_problem: Make, tmp_path: Path
) -> None:
    problem = make_problem(preview="always", budget=("flops=50%", "trials=3"))
    study = create_study(problem)
    with pytest.raises(KeyboardInterrupt):
        run(problem, study, WeightStore(tmp_path), Impatient(len(LEVELS + DEEPER)))
    run(problem, study, WeightStore(tmp_path), Listener())
    trained = [
        trial
        for trial in study.get_trials(states=(TrialState.COMPLETE,))
        if UNTRAINED not in trial.user_attrs
    ]
    assert [trial.user_attrs["origin"] for trial in trained] == [EXACT] * 3
    waiting = {trial.user_attrs["origin"] for trial in study.get_trials(states=(TrialState.WAITING,))}
    assert {EXACT, "uniform"} <= waiting


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"preview": "always"}, True),
        ({"preview": "never"}, False),
        ({"preview": "always", "finetune_steps": 0}, False),
        ({"preview": "always", "compensate": False}, False),
        ({"preview": "always", "granularity": "weights", "budget": ("nonzero=50%",)}, False),
        ({}, False),
    ],
)
def test_when_there_are_previews(make_problem: Make, settings: dict[str, object], expected: bool) -> None:
    assert is_previewed(make_problem(**settings)) is expected


def test_long_training_has_previews_by_itself(make_problem: Make) -> None:
    flops = make_problem().budget_model.original_costs.flops
    steps = int(LONG / (PASSES * flops * 128))
    assert not is_previewed(make_problem(finetune_steps=steps))
    assert is_previewed(make_problem(finetune_steps=steps + 1))
