"""Two workers on a PostgreSQL server: one is killed, or the server stops and starts in the middle."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from faulty import NAME, environment, search_command
from optuna.trial import FrozenTrial, TrialState
from postgresql_server import Server

TRIALS = 6
SECRET = "Secret1"


def command(url: str, *more: str) -> list[str]:
    return search_command("--storage", url, "--workers", "2", *more, trials=TRIALS)


def trials_in(url: str) -> list[FrozenTrial]:
    storage = url.replace("postgresql://", "postgresql+psycopg://")
    return optuna.load_study(study_name=NAME, storage=storage).trials


def check(trials: list[FrozenTrial]) -> None:
    """Every plan was evaluated once, and nothing is left that runs."""
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING}
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    evaluated = [trial for trial in complete if "duplicate_of" not in trial.user_attrs]
    assert len(evaluated) == TRIALS
    assert set(Counter(trial.user_attrs["plan"] for trial in evaluated).values()) == {1}


@pytest.mark.parametrize(
    ("fault", "at"), [("kill before tell", 1), ("kill in fine-tuning", 2), ("kill while writing", 1)]
)
def test_a_killed_worker_loses_nothing(database: str, project: Path, fault: str, at: int) -> None:
    url = database
    done = subprocess.run(
        command(url),
        cwd=project,
        env=environment(FAULT=fault, AT=str(at), WORKER="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    trials = trials_in(url)
    check(trials)
    (lost,) = [trial for trial in trials if trial.user_attrs.get("reason") == "its process died"]
    (retry,) = [trial for trial in trials if trial.user_attrs.get("retry_of") == lost.number]
    assert retry.state is TrialState.COMPLETE
    assert retry.params == lost.params
    everything = [done.stdout, done.stderr, json.dumps([trial.user_attrs for trial in trials])]
    everything += [file.read_text() for file in project.glob("autoprune_artifacts/*/*.log")]
    assert not [text for text in everything if SECRET in text]


def test_a_server_that_stops_and_starts_is_waited_for(
    postgresql: Server, database: str, project: Path
) -> None:
    url = database
    process = subprocess.Popen(
        command(url),
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_trials(url, 2, process)
        before = {trial.number: trial.values for trial in trials_in(url) if trial.state.is_finished()}
        postgresql.stop("immediate")
        time.sleep(3)
        assert process.poll() is None
        postgresql.start()
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
        if not postgresql.is_running:
            postgresql.start()
    assert process.returncode == 0, errors
    trials = trials_in(url)
    check(trials)
    assert before.items() <= {trial.number: trial.values for trial in trials}.items()


def _wait_for_trials(url: str, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if sum(trial.state.is_finished() for trial in trials_in(url)) >= count:
                return
        except (KeyError, optuna.exceptions.StorageInternalError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"the search ended or hung: {process.poll()}")
