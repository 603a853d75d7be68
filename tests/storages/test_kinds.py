"""What every kind of storage has to do, on the real thing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from autoprune.errors import StudyError, UserError
from autoprune.storages import open_storage
from autoprune.storages.journal import RepairingLock
from autoprune.storages.proxy import start_server

KINDS = ("sqlite", "postgresql", "mysql", "journal", "grpc")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A ``--storage`` value of each kind."""
    if request.param == "sqlite":
        yield str(tmp_path / "studies.db")
    elif request.param == "journal":
        yield f"journal:{tmp_path}/studies.log"
    elif request.param == "postgresql":
        yield request.getfixturevalue("database")
    elif request.param == "mysql":
        yield request.getfixturevalue("mysql_database")
    else:
        pytest.importorskip("grpc", reason="the extra grpc is not installed")
        url = request.getfixturevalue("database")
        server, port = start_server(open_storage(url, must_exist=False), "127.0.0.1", 0)
        yield f"grpc://127.0.0.1:{port}"
        server.stop(None).wait()


def study_in(storage: BaseStorage) -> optuna.Study:
    return optuna.create_study(
        storage=storage, study_name="one", directions=["maximize", "minimize"], load_if_exists=True
    )


def test_what_is_written_is_read_by_another_process_or_machine(place: str) -> None:
    study = study_in(open_storage(place, must_exist=False))
    study.set_user_attr("autoprune", {"groups": {"a": 1}, "text": "ü" * 3000})
    trial = study.ask({"x": FloatDistribution(0, 1)})
    trial.set_user_attr("widths", {"a": 3})
    trial.set_constraint("flops", -0.5)
    study.tell(trial, [0.5, 100.0])
    study.enqueue_trial({"x": 0.25}, user_attrs={"origin": "uniform"})

    again = study_in(open_storage(place, must_exist=True))
    first, second = again.trials
    assert again.user_attrs == study.user_attrs
    assert first.params == trial.params
    assert first.values == [0.5, 100.0]
    assert first.user_attrs == {"widths": {"a": 3}}
    assert first.constraints == {"flops": -0.5}
    assert second.state is TrialState.WAITING
    assert second.user_attrs == {"origin": "uniform"}


@pytest.mark.parametrize("workers", [2, 4])
def test_one_worker_alone_gets_a_queued_trial(place: str, workers: int) -> None:
    study = study_in(open_storage(place, must_exist=False))
    for number in range(12):
        study.enqueue_trial({"x": number / 12}, user_attrs={"queued": True})
    together = threading.Barrier(workers)

    def take(_worker: int) -> list[int]:
        own = study_in(open_storage(place, must_exist=True))
        taken = []
        together.wait()
        while "queued" in (trial := own.ask()).user_attrs:
            taken.append(trial.number)
        return taken

    with ThreadPoolExecutor(workers) as pool:
        taken = [number for numbers in pool.map(take, range(workers)) for number in numbers]
    assert sorted(taken) == list(range(12))


def test_one_process_alone_gives_a_trial_up(place: str) -> None:
    study = study_in(open_storage(place, must_exist=False))
    numbers = [study.ask().number for _ in range(8)]
    together = threading.Barrier(4)

    def give_up(_worker: int) -> list[int]:
        own, given_up = study_in(open_storage(place, must_exist=True)), []
        for number in numbers:
            together.wait()
            with suppress(UpdateFinishedTrialError, ValueError):
                own.tell(number, state=TrialState.FAIL)
                given_up.append(number)
        return given_up

    with ThreadPoolExecutor(4) as pool:
        ended = [number for some in pool.map(give_up, range(4)) for number in some]
    assert sorted(ended) == numbers


def test_a_new_storage_may_be_opened_by_many_at_once(place: str) -> None:
    together = threading.Barrier(6)

    def first(_process: int) -> str:
        together.wait()
        return study_in(open_storage(place, must_exist=False)).study_name

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(first, range(6))) == ["one"] * 6


def test_numbers_of_trials_do_not_repeat_with_four_workers(place: str) -> None:
    study_in(open_storage(place, must_exist=False))

    def work(_worker: int) -> list[int]:
        own = study_in(open_storage(place, must_exist=True))
        numbers = []
        for _ in range(5):
            trial = own.ask({"x": FloatDistribution(0, 1)})
            own.tell(trial, [trial.params["x"], 1.0])
            numbers.append(trial.number)
        return numbers

    with ThreadPoolExecutor(4) as pool:
        numbers = [number for some in pool.map(work, range(4)) for number in some]
    assert sorted(numbers) == list(range(20))
    ended = study_in(open_storage(place, must_exist=True)).trials
    assert [trial.number for trial in ended] == list(range(20))
    assert all(trial.values == [trial.params["x"], 1.0] for trial in ended)


def test_opening_a_file_twice_leaves_its_locks(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    first = study_in(open_storage(str(file), must_exist=False))
    first.ask()
    assert study_in(open_storage(str(file), must_exist=True)).study_name == "one"
    # Another process may not take the log away while this one reads from it.
    other = (
        f"import sqlite3; sqlite3.connect({str(file)!r}, timeout=0).execute('PRAGMA journal_mode = DELETE')"
    )
    ended = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
    assert "database is locked" in ended.stderr
    assert len(first.trials) == 1


def test_sqlite_writes_ahead_and_reading_alone_changes_no_mode(tmp_path: Path) -> None:
    def mode(file: Path) -> str:
        with sqlite3.connect(file) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    new, old = tmp_path / "new.db", tmp_path / "old.db"
    storage = open_storage(str(new), must_exist=False)
    study_in(storage)
    assert mode(new) == "wal"
    with storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1

    optuna.create_study(storage=f"sqlite:///{old}", study_name="theirs")
    open_storage(str(old), must_exist=True)
    assert mode(old) == "delete"
    study_in(open_storage(str(old), must_exist=False))
    assert mode(old) == "wal"


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_journal_is_repaired_before_anything_is_appended(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "studies.journal"
    study = study_in(open_storage(str(file), must_exist=False))
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), [0.5, 1.0])
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"worker_id":"x","study_id":0,"datetime_start":"2026"}'[:-cut])

    study = study_in(open_storage(str(file), must_exist=True))
    assert len(study.trials) == 1
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), [0.6, 1.0])
    assert file.read_bytes().startswith(whole + b"{")
    again = study_in(open_storage(str(file), must_exist=True))
    assert [trial.values for trial in again.trials] == [[0.5, 1.0], [0.6, 1.0]]


def test_a_lock_that_a_killed_process_left_is_given_up_wherever_the_journal_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    place = Path("below", "studies.journal")
    study_in(open_storage(str(place), must_exist=False))
    left, mine = RepairingLock(place), RepairingLock(place)
    assert left.acquire()
    mine.grace_period = 0
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(mine.acquire).result(timeout=20)


OTHERS = {
    "UPDATE alembic_version SET version_num = 'v99.0.0.a'": "a newer version of Optuna: run pip install",
    "UPDATE alembic_version SET version_num = 'v1.3.0.a'": "an older version of Optuna: run optuna storage",
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_database_of_another_version_of_optuna_is_refused(tmp_path: Path, change: str) -> None:
    file = tmp_path / "studies.db"
    study_in(open_storage(str(file), must_exist=False))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(change)
    for must_exist in (False, True):
        with pytest.raises(StudyError, match=f"was made by {OTHERS[change]}"):
            open_storage(str(file), must_exist=must_exist)


LINKS = {
    "itself.db": ("itself.db", r"cannot be used: Too many levels of symbolic links: name another file"),
    "itself.journal": ("itself.journal", r"cannot be used: Too many levels of symbolic links"),
    "circle/a.db": ("circle", r"cannot be used: Too many levels of symbolic links"),
    "away.db": ("nowhere/a.db", r"cannot be created: make the folder .*nowhere first"),
    "away.journal": ("nowhere/a.journal", r"cannot be created: make the folder .*nowhere first"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_leads_to_no_storage_is_named(tmp_path: Path, name: str) -> None:
    target, message = LINKS[name]
    link = tmp_path / Path(name).parts[0]
    link.symlink_to(tmp_path / target)
    with pytest.raises(StudyError, match=message):
        open_storage(str(tmp_path / name), must_exist=False)
    with pytest.raises(StudyError, match=r"there is no storage|cannot be used: Too many levels"):
        open_storage(str(tmp_path / name), must_exist=True)


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "made.db")
    study_in(open_storage(str(tmp_path / "link.db"), must_exist=False))
    assert (tmp_path / "made.db").stat().st_size > 0


@pytest.mark.parametrize("path", ["x" * 300 + ".db", "x/" * 1500 + "a.db", "journal:" + "x" * 300])
def test_a_path_that_is_too_long_is_not_shown_whole(tmp_path: Path, path: str) -> None:
    for must_exist in (False, True):
        with pytest.raises(StudyError) as caught:
            open_storage(path, must_exist=must_exist)
        assert len(str(caught.value)) < 400


def test_a_journal_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "studies.journal"
    study_in(open_storage(str(file), must_exist=False)).set_user_attr("a", 1)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:-9] + b"\n" + b"".join(lines[2:]) + lines[0])
    with pytest.raises(StudyError, match="is damaged before its end"):
        open_storage(str(file), must_exist=True)


def test_a_file_of_another_kind_is_no_journal(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are notes")
    with pytest.raises(StudyError, match=r"notes.txt is no journal of Optuna"):
        open_storage(f"journal:{file}", must_exist=False)
    assert file.read_text() == "these are notes"
    with pytest.raises(StudyError, match=r"there is no storage .*none: run autoprune search first"):
        open_storage(f"journal:{tmp_path}/none", must_exist=True)


def test_without_a_server_the_command_that_starts_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc", reason="the extra grpc is not installed")
    monkeypatch.setattr("autoprune.storages.proxy.WAIT_SECONDS", 0.3)
    with pytest.raises(StudyError, match=r"no server answers at grpc://127.0.0.1:9: start autoprune serve"):
        open_storage("grpc://127.0.0.1:9", must_exist=True)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="the extra grpc is not installed")
    storage = open_storage(str(tmp_path / "studies.db"), must_exist=False)
    server, port = start_server(storage, "127.0.0.1", 0)
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}: pass another --port"):
        start_server(storage, "127.0.0.1", port)
    server.stop(None).wait()


def test_trials_with_all_that_they_carry_go_over_grpc(database: str) -> None:
    pytest.importorskip("grpc", reason="the extra grpc is not installed")
    server, port = start_server(open_storage(database, must_exist=False), "127.0.0.1", 0)
    study = study_in(open_storage(f"grpc://127.0.0.1:{port}", must_exist=True))
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params={"x": 0.5},
            distributions={"x": FloatDistribution(0, 1)},
            user_attrs={"origin": "timed again"},
        )
    )
    assert study.trials[0].params == {"x": 0.5}
    assert study.trials[0].user_attrs == {"origin": "timed again"}
    server.stop(None).wait()


def test_a_connection_that_broke_off_is_not_shown_as_a_traceback(tmp_path: Path) -> None:
    code = (
        "from sqlalchemy import text\nfrom autoprune.storages import open_storage\n"
        "engine = open_storage('one.db', must_exist=False)._backend.engine\n"
        "connection = engine.connect()\n"
        "result = connection.execute(text('SELECT 1 UNION SELECT 2'))\n"
        "connection.connection.driver_connection.close()\n"
        "result.close()\n"
        "import os\nos._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
