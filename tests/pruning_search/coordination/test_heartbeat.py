from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from autoprune.pruning_search.coordination import heartbeat
from autoprune.pruning_search.coordination.heartbeat import (
    Heartbeat,
    LostTrialFinder,
    is_gone,
    is_mine,
    this_process,
)
from autoprune.pruning_search.coordination.retry import requeue_lost
from autoprune.storages import open_storage
from autoprune.study.attributes import HEARTBEAT, PROCESS
from autoprune.study.states import DIED


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(str(tmp_path / "studies.db"), must_exist=False))


def test_who_lives_on_this_machine() -> None:
    me = this_process()
    assert is_mine(me) and not is_gone(me)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        theirs = {**me, "pid": other.pid, "born": heartbeat._born(other.pid)}
        assert not is_mine(theirs) and not is_gone(theirs)
        other.kill()
    assert is_gone(theirs)


def test_a_number_that_was_given_to_another_process_does_not_keep_a_trial_alive() -> None:
    earlier = {**this_process(), "pid": os.getppid(), "born": 1}
    assert is_gone(earlier)
    assert not is_mine({**this_process(), "born": 1})


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"space": "pid:[1]"}])
def test_of_other_machines_and_containers_this_one_cannot_tell(elsewhere: dict[str, str]) -> None:
    theirs = {**this_process(), "pid": 2**22 + 1, **elsewhere}
    assert not is_gone(theirs) and not is_mine(theirs)


def test_a_heartbeat_grows_while_the_trial_runs_and_then_stops(study: optuna.Study) -> None:
    trial = study.ask()
    with Heartbeat(study, seconds=0.05).of(trial):
        time.sleep(0.4)
    assert study.trials[0].user_attrs[HEARTBEAT] >= 2
    study.tell(trial, 1.0)
    last = study.trials[0].user_attrs[HEARTBEAT]
    time.sleep(0.2)
    assert study.trials[0].user_attrs[HEARTBEAT] == last


def lost(study: optuna.Study, watch: LostTrialFinder) -> list[int]:
    return [trial.number for trial in watch.lost(study.get_trials(deepcopy=False))]


def test_silence_elsewhere_tells_after_a_while(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    silent, beating, unnamed = (study.ask() for _ in range(3))
    for trial in (silent, beating):
        trial.set_user_attr(PROCESS, {**this_process(), "host": "node7"})
    watch, found = LostTrialFinder(seconds=10), {}
    for look in range(12):
        now[0] = 10.0 * look
        beating.set_user_attr(HEARTBEAT, look)
        for number in lost(study, watch):
            found.setdefault(number, look)
    assert found == {unnamed.number: 4, silent.number: 9}


def test_an_outage_of_the_storage_is_no_silence(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    study.ask().set_user_attr(PROCESS, {**this_process(), "host": "node7"})
    watch = LostTrialFinder(seconds=10)
    assert lost(study, watch) == []
    now[0] = 5000.0
    assert lost(study, watch) == []


def test_the_dead_leave_no_running_trial_behind_and_their_plan_is_run_again(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5}, user_attrs={"origin": "uniform", "widths": {"a": 3}})
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr(PROCESS, {**this_process(), "pid": 2**22 + 1})
    assert requeue_lost(study) == 1
    assert requeue_lost(study) == 0
    dead, again = study.trials
    assert (dead.state, dead.user_attrs["reason"]) == (TrialState.FAIL, DIED)
    assert again.state is TrialState.WAITING
    assert again.user_attrs == {"origin": "uniform", "widths": {"a": 3}, "retry_of": 0}
    assert study.ask().suggest_float("x", 0, 1) == 0.5
