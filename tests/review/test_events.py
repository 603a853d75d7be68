from __future__ import annotations

import io
import json

import optuna
import pytest
from handmade_study import create, tell
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoprune.review import Count, JsonLines


@pytest.fixture
def study() -> optuna.Study:
    return create(InMemoryStorage())


def told(study: optuna.Study) -> list[dict[str, object]]:
    file = io.StringIO()
    events = JsonLines(file)
    with events:
        events.phase("baseline", "digits")
        events.phase("search")
        events.note("continues")
        events.trial_started(0, "uniform", Count(0, 3, None))
        tell(study, 0.5, 0.94, origin="uniform", more={"seconds": {"cut": 0.5}, "loss": float("nan")})
        events.trial_finished(study, study.trials[0], Count(1, 3, 250.0))
        tell(study, 0.8, state=TrialState.PRUNED, reason="over budget: flops 20.0% over")
        events.trial_finished(study, study.trials[1], Count(2, 3, None))
    events.finished(study, "sqlite:///x.db")
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_each_event_is_an_object_on_its_own_line(study: optuna.Study) -> None:
    names = [event["event"] for event in told(study)]
    assert names == [
        *("phase", "phase_ended", "phase", "note", "trial_started", "trial", "trial", "phase_ended"),
        "finished",
    ]


def test_times_go_forward_and_phases_tell_how_long_they_took(study: optuna.Study) -> None:
    events = told(study)
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    ended = [event for event in events if event["event"] == "phase_ended"]
    assert [event["phase"] for event in ended] == ["baseline", "search"]
    assert all(event["took"] >= 0 for event in ended)


def test_a_trial_tells_its_numbers_and_what_is_best_so_far(study: optuna.Study) -> None:
    scored, pruned = (event for event in told(study) if event["event"] == "trial")
    assert scored["state"] == "COMPLETE"
    assert scored["values"] == {"accuracy": 0.94, "flops": scored["numbers"]["flops"]}
    assert scored["numbers"]["quality"] == 0.94
    assert scored["numbers"]["loss"] is None
    assert scored["stages"] == {"cut": 0.5}
    assert (scored["best"], scored["front"], scored["finished"], scored["seconds_left"]) == (0, 1, 1, 250.0)
    assert (pruned["state"], pruned["values"]) == ("PRUNED", None)
    assert pruned["reason"] == "over budget: flops 20.0% over"


def test_the_end_brings_the_front(study: optuna.Study) -> None:
    last = told(study)[-1]
    assert (last["study"], last["storage"], last["best"]) == (study.study_name, "sqlite:///x.db", 0)
    assert [row["trial"] for row in last["front"]] == [0]
    assert last["trials"] == {"COMPLETE": 1, "PRUNED": 1}


def test_an_error_is_an_event() -> None:
    file = io.StringIO()
    JsonLines(file).error("no such file", 2)
    told_error = json.loads(file.getvalue())
    assert (told_error["event"], told_error["message"], told_error["exit_code"]) == (
        "error",
        "no such file",
        2,
    )
