"""Reading a database that cannot be written: its file, its folder or its file system takes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from autoprune.errors import StudyError

Connect = Callable[[], sqlite3.Connection]
_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted with the process."""


def reading(file: Path) -> Connect | None:
    """How to connect to an SQLite file for reading alone; None for one that can be written as usual.

    SQLite reads a file of which nothing can change without its log. Where a log with trials is left beside
    the file, both are copied to a temporary folder and read there: no finished trial is left out.

    Raises StudyError where such a copy cannot be made.
    """
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK | os.X_OK):
        return None
    log = Path(f"{file.resolve()}-wal")
    if not log.exists() or log.stat().st_size == 0:
        place = f"file:{quote(str(file.absolute()))}?mode=ro&immutable=1"
        return lambda: sqlite3.connect(place, uri=True, check_same_thread=False)
    copy = _copied(file, log)
    return lambda: _connected(copy)


def _connected(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, check_same_thread=False)
    # What is written into the copy would be gone with it.
    connection.execute("PRAGMA query_only = ON")
    return connection


def _copied(file: Path, log: Path) -> Path:
    try:
        _KEPT.append(tempfile.TemporaryDirectory(prefix="autoprune-", ignore_cleanup_errors=True))
        copy = Path(_KEPT[-1].name, file.name)
        shutil.copyfile(file, copy)
        shutil.copyfile(log, f"{copy}-wal")
    except OSError as error:
        raise StudyError(
            f"the storage {file} cannot be written, nor copied to be read with its log {log.name} "
            f"({error.strerror}): copy both files to a folder that can be written"
        ) from None
    return copy
