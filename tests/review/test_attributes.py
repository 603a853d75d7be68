"""Studies in which others changed something."""

import optuna
import pytest
from handmade_study import create, tell
from optuna.storages import InMemoryStorage
from typer.testing import CliRunner

from autoprune import review
from autoprune.cli import app
from autoprune.errors import StudyError
from autoprune.review.report import report_html
from autoprune.review.words import study_text
from autoprune.study.attributes import attributes_of, left_out

NAN = float("nan")


def changed(key: str, value: object) -> optuna.Study:
    """Three trials, of which the first one, the best, has an attribute that may be none."""
    study = create(InMemoryStorage())
    for share, accuracy in ((0.5, 0.95), (0.4, 0.94), (0.3, 0.93)):
        tell(study, share, accuracy, more={key: value} if share == 0.5 else None)
    return study


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("widths", -1.5), ("widths", {"layer1": "8"}), ("widths", {"layer1": -1}), ("widths", [8])),
        *(("flops_ratio", [1]), ("flops_ratio", NAN), ("flops_ratio", "x"), ("flops", 1.5), ("flops", 2**70)),
        *(("latency_ms", "fast"), ("latency_ratio", -1), ("latency_low", {}), ("latency_high", float("inf"))),
        *(("timing", NAN), ("timing", {"device": 3}), ("origin", 3), ("plan", ["a"]), ("origin", "x" * 5000)),
        *(
            ("seconds", 3),
            ("seconds", {"cut": "long"}),
            ("stages", [1]),
            ("stages", {"cost": {"estimate": "x"}}),
        ),
        *(("quality_error", "small"), ("size", True), ("duplicate_of", "0"), ("stopped_at", 1)),
        *(("mixture", {"layer1": {"l2": -1.0}}), ("scales", {"layer1": 0}), ("latency_predicted", "x")),
    ],
    ids=str,
)
def test_a_trial_that_cannot_be_read_is_left_out_and_named(key: str, value: object) -> None:
    study = changed(key, value)
    assert list(review.front(study)["trial"]) == [1, 2]
    assert review.best(study).number == 1
    found = review.summary(study)
    assert (found.trials["UNREADABLE"], found.best) == (1, 1)
    assert "2 evaluated; also 1 not readable" in review.headline(found)
    (line,) = [line for line in review.health_lines(study) if "left out" in line]
    assert line.startswith(f"left out because they cannot be read: trial 0 (its {key}") and "\n" not in line
    with pytest.raises(StudyError, match=f"trial 0 cannot be read: its {key}.* choose another one"):
        review.explain(study, 0)


def test_the_report_and_the_note_go_without_it() -> None:
    study = changed("timing", NAN)
    assert "1 not readable" in report_html(study, "study.db")
    assert "1 not readable" in study_text(study, "study.db", [])


def test_the_command_line_says_which(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = create(optuna.storages.RDBStorage(url))
    tell(study, 0.5, 0.95, more={"flops_ratio": [1]})
    tell(study, 0.4, 0.94)
    result = CliRunner().invoke(app, ["front", "--storage", url])
    assert result.exit_code == 0, result.output
    assert "trial 0 (its flops_ratio is wrong" in " ".join(result.output.split())


def test_nothing_is_said_where_all_can_be_read() -> None:
    study = changed("loss", 0.1)
    assert left_out(study) == ""
    assert sorted(review.front(study)["trial"]) == [0, 1, 2]


@pytest.mark.parametrize("value", [float("inf"), 1e200])
def test_values_that_are_no_numbers(value: float) -> None:
    study = create(InMemoryStorage())
    tell(study, 0.5, 0.94)
    study.add_trial(optuna.trial.create_trial(values=[value, 1.0], user_attrs={"flops": 1}))
    assert list(review.front(study)["trial"]) == [0]
    assert "its values are no finite numbers" in left_out(study)


def test_constraints_that_are_no_numbers() -> None:
    study = create(InMemoryStorage())
    tell(study, 0.5, 0.94)
    odd = optuna.trial.create_trial(values=[0.9, 1.0], system_attrs={"constraints:flops": "none"})
    study.add_trial(odd)
    assert list(review.front(study)["trial"]) == [0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("test", [1]), ("test", {"baseline": "x"}), ("ranking", {"0": {"quality": None}}), ("ranking", 3)),
        *(("sensitivity", {"seconds": "x"}), ("sensitivity", {"points": {"layer1": {"x": 1.0}}})),
        *(("sensitivity", [1]), ("wall_seconds", -1.0), ("wall_seconds:w1", NAN)),
    ],
    ids=str,
)
def test_an_attribute_of_the_study_is_one_line(key: str, value: object) -> None:
    study = changed("loss", 0.1)
    study.set_user_attr(key, value)
    with pytest.raises(StudyError, match=f"its record of {key}.* is wrong") as caught:
        review.front(study)
        review.stages_table(study)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"device": {"processor": "x"}}, r"device\.logical_cores"),
        ({"config": {"mix": 3}}, r"config\.mix"),
        ({"config": {"granularity": None}}, r"config\.granularity"),
        ({"ties": {"a": 3}}, r"ties\.a"),
        ({"groups": {"a": 0}}, r"groups\.a"),
    ],
)
def test_parts_of_the_record_have_forms_too(change: dict[str, object], place: str) -> None:
    study = changed("loss", 0.1)
    study.set_user_attr("autoprune", {**study.user_attrs["autoprune"], **change})
    with pytest.raises(StudyError, match=f"its record of {place} is wrong"):
        review.summary(study)


def test_a_further_quality_is_a_number() -> None:
    (trial, *_) = changed("recall", 0.5).trials
    assert attributes_of(trial).objective("recall") == 0.5
    (trial, *_) = changed("recall", "high").trials
    assert attributes_of(trial).objective("recall") is None
