from __future__ import annotations

import optuna
import pytest
from handmade_study import FLOPS, create, fill, tell
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoprune.errors import StudyError
from autoprune.review import best, front, open_study, summary
from autoprune.review.table import counts_text
from autoprune.study.front import front_trials, why_none
from autoprune.study.states import DIED


@pytest.fixture
def study() -> optuna.Study:
    return create(InMemoryStorage())


def test_rows_are_the_feasible_front_with_flops_descending(studied: str) -> None:
    frame = front(open_study(studied, "digits"))
    assert list(frame["trial"]) == [6, 1, 5, 8]
    assert list(frame["accuracy"]) == [0.96, 0.94, 0.91, 0.5]
    assert list(frame["flops_ratio"]) == [0.58, 0.5, 0.25, 0.09]
    assert list(frame["origin"]) == ["global l2", "uniform", "sampler", "sampler"]
    assert frame["flops"].dtype == "int64"
    assert frame["flops"].iloc[1] == FLOPS // 2


def test_columns_are_the_documented_ones(studied: str) -> None:
    frame = front(open_study(studied, None))
    assert list(frame.columns) == [
        "trial",
        "accuracy",
        "accuracy_error",
        "test_accuracy",
        "flops",
        "flops_ratio",
        "parameters",
        "size",
        "latency_ms",
        "latency_ratio",
        "latency_low",
        "latency_high",
        "origin",
    ]
    assert frame["latency_ms"].isna().tolist() == [True, False, False, False]
    assert frame["test_accuracy"].tolist()[:3] == [0.955, 0.935, 0.9]


def test_columns_of_which_nothing_is_known_are_left_out(study: optuna.Study) -> None:
    tell(study, 0.5, 0.94, latency=False)
    assert not [name for name in front(study).columns if name.startswith(("latency", "test"))]


def test_same_trials_as_optuna_apart_from_equal_plans(studied: str) -> None:
    study = open_study(studied, None)
    optunas = [trial.number for trial in study.best_trials]
    assert sorted(optunas) == [1, 5, 6, 7, 8]
    assert [trial.number for trial in front_trials(study)] == [1, 5, 6, 8]


def test_three_objectives_with_a_metric_to_minimize() -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    record = create(InMemoryStorage()).user_attrs["autoprune"]
    study.set_user_attr("autoprune", record | {"metric": "mse", "higher_is_better": False, "limits": {}})
    for mse, flops, latency in [
        (0.1, 50, 9.0),
        (0.1, 40, 8.0),
        (0.2, 60, 1.0),
        (0.1, 40, 7.0),
        (0.05, 90, 20.0),
    ]:
        trial = study.ask()
        costs = {"flops": flops, "flops_ratio": flops / 100, "parameters": flops, "size": 4 * flops}
        for name, value in {**costs, "widths": {"layer1": 8}, "origin": "sampler"}.items():
            trial.set_user_attr(name, value)
        study.tell(trial, [mse, flops, latency])
    assert list(front(study)["trial"]) == [4, 2, 3]
    assert list(front(study)["mse"]) == [0.05, 0.2, 0.1]
    assert best(study).number == 4


def test_an_empty_study_has_an_empty_front(study: optuna.Study) -> None:
    frame = front(study)
    assert frame.empty
    assert {"trial", "accuracy", "flops", "origin"} <= set(frame.columns)


def test_best_is_the_cheapest_of_those_with_the_best_quality(studied: str) -> None:
    assert best(open_study(studied, None)).number == 6


def test_best_says_what_to_do_when_nothing_is_within_the_budget(study: optuna.Study) -> None:
    tell(study, 1.0, 0.97, origin="original")
    tell(study, 0.9, state=TrialState.PRUNED)
    with pytest.raises(
        StudyError, match=r"'digits' has no finished trial within the budget: search with more"
    ):
        best(study)


def test_summary_counts_and_knows_the_original_model(studied: str) -> None:
    found = summary(open_study(studied, None))
    assert (found.name, found.model, found.metric, found.samples) == (
        "digits",
        "digits_resnet",
        "accuracy",
        360,
    )
    assert found.trials == {"COMPLETE": 8, "PRUNED": 1, "FAIL": 1, "RUNNING": 1, "WAITING": 1}
    assert (found.best, found.front) == (6, 4)
    assert found.limits == {"flops": 0.6 * FLOPS, "latency": 0.0015}
    original = found.baseline
    assert (original.trial, original.quality, original.quality_error, original.test_quality) == (
        0,
        0.97,
        0.009,
        0.965,
    )
    assert (original.flops, original.latency_ms) == (FLOPS, 2.0)


def test_why_the_front_is_empty_is_said_with_what_to_do(study: optuna.Study) -> None:
    assert why_none(study) == "none ran"
    tell(study, 0.5, state=TrialState.FAIL, reason="the loss is no number: lower --lr")
    assert why_none(study) == "the last one: the loss is no number: lower --lr"
    for share in (0.9, 0.7, 0.8):
        tell(study, share, state=TrialState.PRUNED, reason=f"over budget at {share}")
    assert why_none(study) == (
        "the nearest one: over budget at 0.7; raise the budget, or give it more trials"
    )


def test_trials_that_were_queued_again_did_not_fail(study: optuna.Study) -> None:
    tell(study, 0.5, state=TrialState.FAIL, reason=DIED)
    tell(study, 0.5, state=TrialState.FAIL, reason="the loss is no number")
    tell(study, 0.5, 0.9)
    found = summary(study)
    assert found.trials == {"UNFINISHED": 1, "FAIL": 1, "COMPLETE": 1}
    assert counts_text(found) == "2 trials: 1 evaluated, 1 failed; also 1 not finished"


def test_summary_of_a_study_that_has_just_begun(study: optuna.Study) -> None:
    found = summary(study)
    assert (found.trials, found.best, found.front) == ({}, None, 0)
    assert (found.baseline.trial, found.baseline.quality_error, found.baseline.test_quality) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize("ask", [front, best, summary])
def test_a_study_of_someone_else_is_refused(ask: object) -> None:
    study = create(InMemoryStorage(), "theirs", ours=False)
    fill(study)
    with pytest.raises(StudyError, match="study 'theirs' was not made by autoprune"):
        ask(study)  # type: ignore[operator]
