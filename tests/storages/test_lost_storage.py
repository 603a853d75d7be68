"""A storage whose file or study is taken away while it is written: the study is saved beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.errors import LostStorageError, StudyError
from autoprune.pruning_search import loop
from autoprune.storages import open_storage
from autoprune.tasks.cache import VARIABLE, _why_not, cache_folder, cache_trouble

KINDS = ("study.db", "study.journal")
FINISHED = 3


def begun(file: Path, trials: int = FINISHED) -> optuna.Study:
    study = optuna.create_study(storage=open_storage(str(file), must_exist=False), study_name="one")
    study.set_user_attr("kept", "yes")
    for value in range(trials):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        trial.set_user_attr("number", value)
        study.tell(trial, float(value))
    return study


def remove(file: Path) -> None:
    file.unlink()


def move(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


def replace(file: Path) -> None:
    other = file.with_name(f"other{file.suffix}")
    begun(other, trials=1)
    other.replace(file)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def delete_study(file: Path) -> None:
    optuna.delete_study(study_name="one", storage=open_storage(str(file), must_exist=True))


def by_another_process(code: str, file: Path) -> None:
    """Run code that knows the file, its bytes, and its database."""
    known = "import os, sqlite3, sys; file = sys.argv[1]; content = open(file, 'rb').read()\n"
    connected = "connect = lambda: sqlite3.connect(file, isolation_level=None, timeout=9)\n"
    subprocess.run([sys.executable, "-c", known + connected + code, file], check=True)


def write_back(file: Path) -> None:
    """Have the log of a database in its file."""
    if file.suffix == ".db":
        by_another_process("connect().execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()", file)


def overwrite(file: Path) -> None:
    by_another_process("open(file, 'r+b').write(os.urandom(len(content)))", file)


def overwrite_all_but_the_beginning(file: Path) -> None:
    write_back(file)
    by_another_process(
        "opened = open(file, 'r+b'); opened.seek(4096); opened.write(os.urandom(max(0, len(content) - 4096)))"
        if file.suffix == ".db"
        else "opened = open(file, 'r+b'); opened.seek(-200, 2); opened.write(bytes(200))",
        file,
    )


def restore(file: Path) -> None:
    """Put an older copy into the file, which lacks the last trials."""
    if file.suffix != ".db":
        halve(file)
        return
    write_back(file)
    by_another_process(
        """
old = sqlite3.connect(file + ".old", isolation_level=None)
connect().backup(old)
old.execute("DELETE FROM trials WHERE number > 1")
old.execute("PRAGMA journal_mode = DELETE")
older = open(file + ".old", "rb").read()
opened = open(file, "r+b")
opened.write(older)
""",
        file,
    )


FAULTS = (
    *(remove, move, replace, empty, halve, remove_folder, delete_study),
    *(overwrite, overwrite_all_but_the_beginning, restore),
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which is not that of the storage."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_finished_is_saved_when_the_storage_is_lost(
    tmp_path: Path, elsewhere: Path, kind: str, fault: Callable[[Path], None]
) -> None:
    file = tmp_path / "place" / kind
    file.parent.mkdir()
    study = begun(file)
    trial = study.ask({"x": FloatDistribution(0, 1)})
    fault(file)
    with pytest.raises(LostStorageError, match=r"was saved to .*rescued.*: go on with --storage ") as lost:
        study.tell(trial, 9.0)
        # A journal still takes the values of a trial whose study was deleted.
        study.ask()
    assert "\n" not in str(lost.value)
    (saved,) = [*file.parent.glob("*.rescued.*")] if file.parent.exists() else elsewhere.glob("*.rescued.*")
    again = optuna.load_study(study_name="one", storage=open_storage(str(saved), must_exist=True))
    assert [t.values for t in again.trials[:FINISHED]] == [[0.0], [1.0], [2.0]]
    assert [t.user_attrs["number"] for t in again.trials[:FINISHED]] == [0, 1, 2]
    assert again.user_attrs["kept"] == "yes"
    with pytest.raises(LostStorageError):
        study.ask()


@pytest.mark.parametrize("log", ["-wal", "-shm"])
def test_a_lost_log_of_a_database_takes_no_trial_with_it(tmp_path: Path, log: str) -> None:
    file = tmp_path / "study.db"
    study = begun(file)
    beside = Path(f"{file}{log}")
    if not beside.exists():
        pytest.skip("this SQLite keeps no log beside the file")
    beside.unlink()
    with pytest.raises(LostStorageError, match="lost its log"):
        study.ask({"x": FloatDistribution(0, 1)})
    saved = open_storage(str(tmp_path / "study.rescued.db"), must_exist=True)
    assert len(optuna.load_study(study_name="one", storage=saved).trials) >= FINISHED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["", "-wal"])
def test_a_storage_that_takes_no_more_writes_is_lost(tmp_path: Path, kind: str, part: str) -> None:
    file = tmp_path / kind
    study, shut = begun(file), Path(f"{file}{part}")
    if not shut.exists():
        pytest.skip("a journal has no log beside it")
    if subprocess.run(["chattr", "+i", shut], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        reader = optuna.load_study(study_name="one", storage=open_storage(str(file), must_exist=True))
        assert len(reader.trials) == FINISHED
        with pytest.raises(LostStorageError, match=r"cannot be written any more.* was saved to "):
            study.ask({"x": FloatDistribution(0, 1)})
    finally:
        subprocess.run(["chattr", "-i", shut], check=True)
    saved = open_storage(str(tmp_path / f"study.rescued{file.suffix}"), must_exist=True)
    assert [t.values for t in optuna.load_study(study_name="one", storage=saved).trials] == [
        [0.0],
        [1.0],
        [2.0],
    ]


VACUUM = "connect().execute('VACUUM')"
GROWN = """
connection = connect()
connection.execute("CREATE TABLE IF NOT EXISTS big(x)")
connection.execute("INSERT INTO big SELECT hex(zeroblob(500000))")
connection.execute("DELETE FROM big")
"""
TOLD = """
connection = connect()
connection.execute("INSERT INTO trials(number, study_id, state) SELECT 99, study_id, 'WAITING' FROM studies")
"""
CHECKPOINT = "connect().execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()"


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
@pytest.mark.parametrize("work", [(VACUUM,), (GROWN, CHECKPOINT, VACUUM, CHECKPOINT), (TOLD, CHECKPOINT)])
def test_what_other_processes_do_with_a_database_is_no_loss(
    tmp_path: Path, mode: str, work: tuple[str, ...]
) -> None:
    file = tmp_path / "study.db"
    if mode == "WAL":
        begun(file, trials=1)
    else:
        optuna.create_study(storage=f"sqlite:///{file}", study_name="one")
    study = optuna.load_study(study_name="one", storage=open_storage(str(file), must_exist=True))
    study.set_user_attr("kept", "yes")
    for code in work:
        by_another_process(code, file)
        study.tell(study.ask({"x": FloatDistribution(0, 1)}), 1.0)
    assert sum(trial.value == 1.0 for trial in study.trials) == len(work)
    assert not list(tmp_path.glob("*.rescued*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_rescue_file_of_before_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    file = tmp_path / kind
    study = begun(file)
    other = file.with_name(f"study.rescued{file.suffix}")
    other.write_bytes(b"something else")
    file.unlink()
    with pytest.raises(LostStorageError, match=r"rescued-2"):
        study.ask()
    assert other.read_bytes() == b"something else"


def test_a_process_that_only_reads_saves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    begun(file)
    reader = optuna.load_study(study_name="one", storage=open_storage(str(file), must_exist=True))
    assert len(reader.trials) == FINISHED
    file.unlink()
    with pytest.raises(StudyError, match="was deleted or moved"):
        reader.get_trials(deepcopy=False)
    assert not list(tmp_path.glob("*.rescued*"))


def test_a_search_whose_database_is_deleted_says_so_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    write, calls = loop.write, []

    def deleting(*arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            Path("autoprune.db").unlink()
        return write(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "write", deleting)
    quick = ("--finetune-steps", "2", "--calibration-batches", "1", "--no-latency", "--train-epochs", "1")
    budget = ("--budget", "flops=60%,trials=4")
    done = CliRunner().invoke(app, ["search", "--data", "digits", *quick, *budget, "--quiet"])
    assert done.exit_code == 1, done.output
    assert "Next:" not in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: the storage autoprune.db was deleted or moved: the study was saved to ")
    front = CliRunner().invoke(app, ["front", "--storage", "autoprune.rescued.db"])
    assert front.exit_code == 0, front.output
    assert "3 evaluated" in front.stdout  # with the one that was being written


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that is read-only, with a study in it that has a log beside it."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("log", [False, True])
def test_a_study_on_a_read_only_file_system_is_read(read_only: Path, tmp_path: Path, log: bool) -> None:
    made = tmp_path / "made.db"
    study = begun(made)
    if log:
        # As a process that was killed leaves it, with trials in the log alone.
        for part in ("", "-wal"):
            if Path(f"{made}{part}").exists():
                shutil.copyfile(f"{made}{part}", read_only / f"study.db{part}")
    else:
        with (
            closing(sqlite3.connect(read_only / "study.db")) as copy,
            closing(sqlite3.connect(made)) as source,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    del study
    subprocess.run(["mount", "-o", "remount,ro", read_only], check=True)
    storage = open_storage(str(read_only / "study.db"), must_exist=True)
    again = optuna.load_study(study_name="one", storage=storage)
    assert [trial.values for trial in again.trials] == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_an_unwritable_cache_is_replaced_and_its_variable_named(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home is None:
        monkeypatch.setenv(VARIABLE, "/proc/nowhere/cache")
    else:
        monkeypatch.setenv("HOME", home)
    _why_not.cache_clear()
    assert VARIABLE in cache_trouble()
    (cache_folder() / "kept").write_text("x")


def test_a_cache_that_can_be_written_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert cache_trouble() == ""
    assert cache_folder() == tmp_path / "cache"
