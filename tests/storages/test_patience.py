"""A server that goes away and comes back."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from postgresql_server import Server, running_server
from sqlalchemy.exc import OperationalError, PendingRollbackError

from autoprune.errors import MissingExtraError, StudyError
from autoprune.storages import open_storage
from autoprune.storages.patience import PatientStorage


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A running server that no other test needs."""
    with running_server() as server:
        yield server


def test_a_call_waits_until_the_database_is_back(own_server: Server) -> None:
    url, notes = own_server.database("studies"), []
    study = optuna.create_study(storage=open_storage(url, must_exist=False, note=notes.append))
    trial = study.ask({"x": FloatDistribution(0, 1)})
    own_server.stop("immediate")
    back = threading.Timer(1.5, own_server.start)
    back.start()
    began = time.monotonic()
    study.tell(trial, 0.5)
    assert time.monotonic() - began > 1
    back.join()
    assert [trial.value for trial in study.trials] == [0.5]
    assert "does not answer: waiting for it" in notes[0]
    assert notes[-1].endswith("answers again")
    assert not any("Secret1" in note for note in notes)


def test_a_second_question_in_a_transaction_that_an_outage_broke_is_asked_again() -> None:
    broken = StorageInternalError("an exception is raised during the commit")
    broken.__cause__ = PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    notes: list[str] = []
    storage = PatientStorage(InMemoryStorage(), "the server", notes.append)
    answers = iter([broken, 7])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert storage._call(call) == 7
    assert notes == [
        "the storage the server does not answer: waiting for it",
        "the storage the server answers again",
    ]


def test_patience_ends_with_what_to_do(own_server: Server) -> None:
    url = own_server.database("studies")
    storage = open_storage(url, must_exist=False)
    assert isinstance(storage, PatientStorage)
    hasty = PatientStorage(storage._storage, storage._shown, lambda _: None, patience=0.1)
    study = optuna.create_study(storage=hasty)
    own_server.stop("immediate")
    with pytest.raises(StudyError, match=r"did not answer for .*: start it, then run the same") as caught:
        study.ask()
    assert "Secret1" not in str(caught.value)
    with pytest.raises(StudyError, match=r"cannot be used: .*Connection refused") as caught:
        open_storage(url, must_exist=True)
    assert "Secret1" not in str(caught.value)


def test_an_outcome_whose_answer_was_lost_counts_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = open_storage(str(tmp_path / "a.db"), must_exist=False)
    storage = PatientStorage(inner, "a.db", lambda _: None)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    told, record = [], inner.set_trial_state_values

    def record_and_lose_the_answer(*outcome: Any) -> bool:
        told.append(outcome)
        recorded = record(*outcome)
        if len(told) == 1:
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return recorded

    monkeypatch.setattr(inner, "set_trial_state_values", record_and_lose_the_answer)
    assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    assert len(told) == 2
    # The same from somebody else is not his own.
    for outcome in ((TrialState.COMPLETE, [0.5]), (TrialState.FAIL, None)):
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_state_values(trial._trial_id, *outcome)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://me:Secret1@host/x", "psycopg", "postgres"),
        ("mysql://me:Secret1@host/x", "pymysql", "mysql"),
    ],
)
def test_a_missing_driver_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    named = rf"{module} is not installed: pip install 'autoprune\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=named):
        open_storage(url, must_exist=True)
