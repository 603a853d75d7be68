import math
import re
from pathlib import Path

import optuna
import pytest
from handmade_study import BASELINE, create, tell
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoprune.errors import StudyError
from autoprune.review import explain, front, health_lines, study_record, summary, why_none, write_report
from autoprune.review.table import front_lines


def test_what_autoprune_writes_is_read() -> None:
    study = create(optuna.storages.InMemoryStorage())
    assert study_record(study) == study.user_attrs["autoprune"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"model": 3}, "model"),
        ({"metric": None}, "metric"),
        ({"metric": "x" * 5000}, "metric"),
        ({"samples": -1}, "samples"),
        ({"samples": 1e9}, "samples"),
        ({"higher_is_better": "yes"}, "higher_is_better"),
        ({"baseline": {**BASELINE, "flops": "many"}}, "baseline.flops"),
        ({"baseline": {**BASELINE, "size": float("nan")}}, "baseline"),
        ({"limits": [1]}, "limits"),
        ({"limits": {"flops": float("inf")}}, "limits.flops"),
        ({"groups": {"a": -1}}, "groups.a"),
        ({"groups": {"a": 2**40}}, "groups.a"),
        ({"config": "none"}, "config"),
    ],
    ids=str,
)
def test_anything_else_is_one_line(change: dict[str, object], place: str) -> None:
    study = create(optuna.storages.InMemoryStorage())
    study.set_user_attr("autoprune", {**study.user_attrs["autoprune"], **change})
    with pytest.raises(StudyError, match=f"its record of {place} is wrong") as caught:
        front(study)
    assert "\n" not in str(caught.value)


def test_a_study_whose_original_has_no_quality_is_shown(tmp_path: Path) -> None:
    study = create(optuna.storages.InMemoryStorage())
    record = {**study.user_attrs["autoprune"], "others": {"r2": float("nan")}}
    study.set_user_attr("autoprune", record | {"baseline": {**BASELINE, "quality": float("nan")}})
    tell(study, 0.5, state=TrialState.FAIL, reason="the metric became nan")
    assert front(study).empty
    assert math.isnan(summary(study).baseline.quality)
    write_report(study, f"sqlite:///{tmp_path}/study.db", tmp_path / "report.html")
    why = "the accuracy of the original is not a number on the study's validation samples"
    assert why in why_none(study)
    assert why in (tmp_path / "report.html").read_text().replace("&#x27;", "'")
    (line,) = health_lines(study)
    assert why in line
    with pytest.raises(StudyError, match=re.escape(why)) as caught:
        explain(study)
    assert "more trials" not in str(caught.value)
    assert front_lines(front(study), summary(study))[1][0].cells["accuracy"] == "undefined"
    tell(study, 0.5, 0.9, more={"r2": 0.5})
    assert len(front(study)) == 1
    write_report(study, f"sqlite:///{tmp_path}/study.db", tmp_path / "report.html")
    explain(study)


@pytest.mark.parametrize("record", [None, [], "text"])
def test_no_record_at_all(record: object) -> None:
    study = create(optuna.storages.InMemoryStorage(), ours=False)
    study.set_user_attr("autoprune", record)
    with pytest.raises(StudyError, match="was not made by autoprune"):
        study_record(study)


@pytest.mark.parametrize("name", ["flops", "flops_ratio", "parameters", "size", "widths"])
def test_a_trial_of_an_earlier_version_is_told_in_one_line(name: str) -> None:
    study = create(InMemoryStorage())
    number = tell(study, 0.5, 0.94)
    known = study.trials[number].user_attrs
    study = create(InMemoryStorage())
    trial = optuna.trial.create_trial(
        values=[0.94, 1e6],
        user_attrs={key: value for key, value in known.items() if key != name},
    )
    study.add_trial(trial)
    for use in (front, summary):
        with pytest.raises(StudyError, match=f"records no {name} of trial 0: .* search again") as caught:
            use(study)
        assert "\n" not in str(caught.value)


def test_an_original_model_of_an_earlier_version_is_told_in_one_line() -> None:
    study = create(InMemoryStorage())
    record = study.user_attrs["autoprune"]
    study.set_user_attr("autoprune", record | {"baseline": {"quality": 0.9}})
    with pytest.raises(StudyError, match="records no flops of the original model"):
        front(study)
