"""Further qualities as objectives: under noise, or by another metric."""

import io
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection
from rich.console import Console

from autoprune import review
from autoprune.errors import ConfigError, DataError
from autoprune.export.card import cost_rows
from autoprune.pruning_search import Problem, create_study, run
from autoprune.pruning_search.evaluation.early_stopping import early_stopping_for
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import Listener
from autoprune.study.trust import user_code
from autoprune.tasks import evaluate

Make = Callable[..., Problem]
NOISY = "accuracy@gaussian:0.8"


@pytest.fixture
def searched(make_problem: Make) -> tuple[Problem, optuna.Study]:
    problem = make_problem(objective=(NOISY, "f1"), budget=("flops=60%", "trials=4"))
    study = create_study(problem)
    run(problem, study, WeightStore.beside(problem.config.storage, study.study_name), Listener())
    return problem, study


def test_further_qualities_are_objectives_with_values_that_repeat(
    searched: tuple[Problem, optuna.Study],
) -> None:
    problem, study = searched
    assert problem.objectives == ("accuracy", "flops", NOISY, "f1")
    maximise, minimise = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
    assert study.directions == [maximise, minimise, maximise, maximise]
    trials = [trial for trial in study.trials if trial.values]
    assert len(trials) == 4
    for trial in trials:
        assert trial.values[2] == trial.user_attrs[NOISY]
        assert trial.values[3] == trial.user_attrs["f1"]
    assert problem.subject.baseline.others[NOISY] < problem.subject.baseline.score.value
    noisy = problem.subject.others[0]
    again = [noisy.value(problem.model, size) for size in (500, 64)]
    assert again == [problem.subject.baseline.others[NOISY]] * 2
    assert early_stopping_for(problem, study) is None


def test_front_table_csv_card_and_report_show_them(
    searched: tuple[Problem, optuna.Study], tmp_path: Path
) -> None:
    problem, study = searched
    frame = review.front(study)
    assert {NOISY, "f1"} <= set(frame.columns)
    assert NOISY in review.to_csv(frame).splitlines()[0]
    summary = review.summary(study)
    assert summary.baseline.others == problem.subject.baseline.others
    shown = io.StringIO()
    Console(file=shown, width=200).print(review.front_table(frame, summary, width=200))
    assert NOISY in shown.getvalue()
    card = review.card_of(study, study.trials[int(frame["trial"].iloc[-1])])
    rows = {row[0]: row[1:] for row in cost_rows(card)}
    assert rows[f"{NOISY} (validation)"][1] == f"{frame[NOISY].iloc[-1]:.4f}"
    review.write_report(study, problem.config.storage, tmp_path / "report.html")
    assert NOISY in (tmp_path / "report.html").read_text()


def test_the_quality_itself_may_be_one_under_noise(make_problem: Make) -> None:
    problem, clean = make_problem(metric=NOISY), make_problem()
    assert problem.objectives == (NOISY, "flops")
    assert problem.subject.baseline.score.value < clean.subject.baseline.score.value
    assert evaluate(problem.model, problem.splits.selection, problem.data.task, batch_size=77).value == (
        problem.subject.baseline.score.value
    )
    assert problem.subject.baseline.score.noise(problem.data.task) is not None
    test = evaluate(problem.model, problem.data.test, problem.data.task).value
    assert test < evaluate(clean.model, clean.data.test, clean.data.task).value


def test_an_objective_that_is_there_already_or_is_none(make_problem: Make) -> None:
    with pytest.raises(ConfigError, match="the objective accuracy is there already"):
        make_problem(objective=("accuracy",))
    with pytest.raises(DataError, match="did you mean gaussian"):
        make_problem(objective=("accuracy@gausian:0.1",))
    with pytest.raises(DataError, match="classification has no metric 'mse'"):
        make_problem(objective=("mse@gaussian:0.1",))


def test_a_metric_of_ones_own_under_noise_is_user_code() -> None:
    text = "own.py:Metric@gaussian:0.1"
    assert user_code({"objective": [text, "f1@gaussian:1"], "metric": text}) == {
        "metric": [text],
        "objective": [text],
    }
