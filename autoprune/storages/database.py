"""Databases: an SQLite file, or a server such as PostgreSQL."""

from __future__ import annotations

import logging
import re
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from autoprune.errors import StudyError
from autoprune.storages.address import Address
from autoprune.storages.unwritable import Connect, reading
from autoprune.utils.sqlite_files import check_beside, check_tables, limit_values
from autoprune.utils.untrusted import short

# A writer holds the file for milliseconds, a reader of a long study for seconds.
_SQLITE_WAIT_SECONDS = 60
_CONNECT_SECONDS = 10
_LONGEST_SHOWN = 300
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.3
_UNSEEN = logging.NullHandler()
"""For what SQLAlchemy logs of connections that broke off: what it raises says it, and a stop is no error."""
_CLAIM = text(
    "UPDATE trials SET state = 'RUNNING', datetime_start = :now WHERE trial_id = :trial AND state = 'WAITING'"
)
_FAIL = text(
    "UPDATE trials SET state = 'FAIL', datetime_complete = :now "
    "WHERE trial_id = :trial AND state IN ('RUNNING', 'WAITING')"
)


class ClaimingStorage(RDBStorage):
    """Optuna's storage in a database, in which one process alone takes a queued trial, or gives one up.

    Optuna reads the trial's state and then writes it, which two processes on SQLite can do at once; here it
    is one statement, which the database runs for one of them.
    """

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state; false when a trial is to run that another process runs already."""
        statement = {TrialState.RUNNING: _CLAIM, TrialState.FAIL: _FAIL}.get(state)
        if statement is None or values is not None:
            return super().set_trial_state_values(trial_id, state, values)
        with self.engine.begin() as connection:
            done = connection.execute(statement, {"now": datetime.now(), "trial": trial_id}).rowcount == 1
        if not done and self.get_trial(trial_id).state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial_id} is over already")
        return done


def open_database(address: Address, *, must_exist: bool) -> BaseStorage:
    """The storage in a database. Raises StudyError for an SQLite file that cannot be one."""
    assert address.url is not None
    logging.getLogger("sqlalchemy.pool").addHandler(_UNSEEN)
    if address.kind == "sqlite":
        unwritten = _check_file(address, must_exist)
        engine: dict[str, Any] = {
            "connect_args": {"timeout": _SQLITE_WAIT_SECONDS},
            "pool_events": [(_look_at_journal if must_exist else _write_ahead, "connect")],
        }
        if unwritten is not None:
            engine = {"creator": unwritten, "pool_events": []}
        engine["pool_events"].append((limit_values, "connect"))
    else:
        engine = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_SECONDS}}
    # Optuna takes the URL for a format string, in which braces must be doubled.
    literal = address.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    for _ in range(_ATTEMPTS):
        try:
            return get_storage(ClaimingStorage(literal, engine_kwargs=engine, skip_table_creation=must_exist))
        except (SQLAlchemyError, StorageInternalError) as error:
            if not _was_made_meanwhile(error):
                raise
            time.sleep(_PAUSE_SECONDS)
    return get_storage(ClaimingStorage(literal, engine_kwargs=engine, skip_table_creation=must_exist))


def _was_made_meanwhile(error: Exception) -> bool:
    """Whether another process made the tables, or wrote Optuna's version into them, in the same moment."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return re.search(r"already exists|UNIQUE constraint|[Dd]uplicate", str(cause)) is not None


def _write_ahead(connection: sqlite3.Connection, _record: object) -> None:
    """Let readers and one writer work at once, and writers wait for the disk only now and then.

    What is committed survives a process that is killed. A power cut may take the last commits, and never
    harms the file. A file that may not be changed keeps its mode.
    """
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    _look_at_journal(connection, _record)


def _look_at_journal(connection: sqlite3.Connection, _record: object) -> None:
    """Write with fewer waits where the file is in write-ahead mode; its mode stays."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal":
        connection.execute("PRAGMA synchronous = NORMAL")


def _check_file(address: Address, must_exist: bool) -> Connect | None:
    """How to connect to an SQLite file that cannot be written; None for others.

    Raises StudyError unless the file is there, or may be created.
    """
    url, path = address.url, address.file
    assert url is not None
    if url.host:
        raise StudyError(f"the storage {url.host} has too few slashes: write sqlite:///{url.host}")
    if path is None:
        if must_exist:
            raise StudyError("a storage in memory holds no study: name a file, as in sqlite:///autoprune.db")
        return None
    if str(url.database).startswith("file:"):
        raise StudyError(f"the storage {path} cannot be used: write the path alone, sqlite:///FILE")
    check_place(path, must_exist)
    if not path.exists():
        return None
    check_beside(path)
    connect = reading(path)
    if connect is not None and not must_exist:
        raise StudyError(f"the storage {path} cannot be written: change its permissions, or name another one")
    _check_header(path, connect or (lambda: sqlite3.connect(path, timeout=_SQLITE_WAIT_SECONDS)))
    return connect


def check_place(path: Path, must_exist: bool) -> None:
    """Raise StudyError where a storage's file is not, or cannot be made."""
    shown = _shown(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that no file system takes, or a link that leads to itself
        raise StudyError(
            f"the storage {shown} cannot be used: {error.strerror}: name another file as the storage"
        ) from None
    else:
        if stat.S_ISDIR(mode):
            raise StudyError(f"the storage {shown} is a folder: name a file in it")
        if not stat.S_ISREG(mode):
            raise StudyError(f"the storage {shown} is no ordinary file: name another one")
        return
    if must_exist:
        raise StudyError(f"there is no storage {shown}: run autoprune search first, or name another storage")
    # A link may lead to a file that is not there yet.
    folder = path.resolve().parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise StudyError(f"the storage {shown} cannot be created: make the folder {_shown(folder)} first")


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _LONGEST_SHOWN else short(text)


def _check_header(path: Path, connect: Connect) -> None:
    """Raise StudyError unless SQLite can read the file.

    SQLite has to look itself: opening and closing the file elsewhere ends all locks that this process has on
    it, and with them what keeps another process from taking its log away (POSIX, fcntl).
    """
    try:
        connection = connect()
    except sqlite3.Error as error:
        raise StudyError(f"the storage {path} cannot be used: {error}") from None
    try:
        connection.execute("PRAGMA schema_version")
        check_tables(connection, path)
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise StudyError(f"{path} is no SQLite database: name another file as the storage") from None
        raise StudyError(f"the storage {path} cannot be used: {error}") from None
    finally:
        connection.close()
