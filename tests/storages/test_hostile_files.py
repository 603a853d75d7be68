"""SQLite files that strangers made: nothing outside their folder is touched, and nothing hangs or grows."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import typer
from sqlalchemy import text
from sqlalchemy.exc import DataError

from autoprune.cli.completion import study as complete_study
from autoprune.errors import StudyError
from autoprune.storages import open_storage

MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    file = folder / "a.db"
    optuna.create_study(study_name="mine", storage=f"sqlite:///{file}")
    return file


def offered(file: Path) -> list[str]:
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params["storage"] = f"sqlite:///{file}"
    return complete_study(context, "")


def journal_naming(victim: Path, file: Path) -> bytes:
    """A journal of a transaction that was stopped, and that belongs to several databases."""
    page = int.from_bytes(file.read_bytes()[16:18], "big")
    head = MAGIC + struct.pack(">5I", 0, 1, file.stat().st_size // page, 512, page)
    name = os.fsencode(victim)
    end = struct.pack(">I", 0x40000000 // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + MAGIC
    return head.ljust(512, b"\0") + end


def test_a_journal_cannot_have_another_file_deleted(file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "precious.txt"
    victim.write_text("mine\n")
    Path(f"{file}-journal").write_bytes(journal_naming(victim, file))
    assert offered(file) == []
    with pytest.raises(StudyError, match="names another file, which SQLite would delete"):
        open_storage(str(file), must_exist=True)
    assert victim.read_text() == "mine\n"
    # Without the check it is deleted: the journal is one that SQLite takes.
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT count(*) FROM studies").fetchall()
    assert not victim.exists()


def test_a_journal_of_this_database_alone_is_used(file: Path) -> None:
    Path(f"{file}-journal").write_bytes(b"")
    assert open_storage(str(file), must_exist=True).get_all_studies()[0].study_name == "mine"


@pytest.mark.parametrize("ending", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_lies_beside_a_database_is_a_file(file: Path, ending: str, kind: str) -> None:
    beside = Path(f"{file}{ending}")
    if kind == "pipe":
        os.mkfifo(beside)
    else:
        beside.symlink_to(file)
    assert offered(file) == []
    with pytest.raises(StudyError, match=f"a.db{ending} beside the storage is no file"):
        open_storage(str(file), must_exist=True)


@pytest.mark.parametrize(
    "changes",
    [
        (
            "ALTER TABLE studies RENAME TO s",
            "CREATE VIEW studies AS SELECT study_id, 'x' AS study_name FROM s",
        ),
        ("CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",),
        ("CREATE VIRTUAL TABLE v USING fts4(a)",),
        ("ALTER TABLE studies ADD COLUMN wide GENERATED ALWAYS AS (hex(zeroblob(100000000)))",),
        ("ALTER TABLE studies ADD COLUMN wide AS (1)",),
        ("CREATE TABLE t (a CHECK (hex(zeroblob(a * 400000000)) > 'z'))",),
        ("CREATE TABLE t (a, b DEFAULT (hex(zeroblob(40000000))))",),
        ("CREATE INDEX i ON studies (hex(zeroblob(study_id)))",),
        ("CREATE INDEX i ON studies (study_id) WHERE length(study_name) > 1",),
        # A view that calls itself a table.
        (
            "CREATE VIEW v AS SELECT 1",
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET type = 'table', sql = 'CREATE/**/VIEW v AS SELECT 1' WHERE name = 'v'",
        ),
    ],
)
def test_a_database_computes_nothing(file: Path, changes: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for change in changes:
            connection.execute(change)
        connection.commit()
    assert offered(file) == []
    with pytest.raises(StudyError, match=r"has a part that SQLite would run|malformed"):
        open_storage(str(file), must_exist=True)


def test_an_ordinary_database_is_offered(file: Path) -> None:
    assert offered(file) == ["mine"]


def test_what_optuna_declares_is_ordinary(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        kind = "kind VARCHAR(8) DEFAULT 'FINITE' NOT NULL, CONSTRAINT k CHECK (kind IN ('FINITE', 'NAN'))"
        connection.execute(f"CREATE TABLE t (a INTEGER, {kind}, PRIMARY KEY (a))")
    assert offered(file) == ["mine"]


def test_values_are_bounded(file: Path) -> None:
    storage = open_storage(str(file), must_exist=True)
    engine = storage._backend.engine  # type: ignore[attr-defined]
    with engine.connect() as connection, pytest.raises(DataError, match="too big"):
        connection.execute(text("SELECT hex(zeroblob(100000000))"))
