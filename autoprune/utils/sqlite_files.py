"""SQLite files that others may have made: what SQLite would do for them by itself is looked at first.

It opens what lies beside a database, waits for pipes, deletes a file that a journal names, and runs views and
triggers.
"""

from __future__ import annotations

import re
import sqlite3
import stat
from pathlib import Path

from autoprune.errors import StudyError
from autoprune.utils.untrusted import short

MOST_VALUE = 64 << 20
"""Bytes of the longest value in a row."""
_BESIDE = ("-journal", "-wal", "-shm")
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""End of a journal that names a file which belongs to several databases."""
_PLAIN = re.compile(r"CREATE (TABLE|INDEX|UNIQUE INDEX) ", re.IGNORECASE)
_COMPUTED = re.compile(
    r"\b(AS|CHECK)\b|\bDEFAULT\b(?!\s+[\w'+-])|\bINDEX\b.*\(.*\(", re.IGNORECASE | re.DOTALL
)
"""What columns, conditions, defaults and indexes that are computed are declared with."""
_CHECKS = re.compile(r"\bCHECK \(\w+ ?(= ?\d+|IN \([\w', ]+\))\)")
"""Conditions that Optuna sets; nothing is called in them."""


def check_beside(file: Path) -> None:
    """Raise StudyError unless SQLite can open what lies beside a database, and deletes nothing for it."""
    for ending in _BESIDE:
        beside = Path(f"{file.resolve()}{ending}")
        try:
            mode = beside.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise StudyError(f"{beside} beside the storage is no file: take it away")
        if ending == "-journal" and _end(beside) == _NAMES_ANOTHER:
            raise StudyError(
                f"{beside} beside the storage names another file, which SQLite would delete: take it away"
            )


def check_tables(connection: sqlite3.Connection, file: Path) -> None:
    """Raise StudyError where a database computes what is read from it, or does more than is asked.

    Only tables and indexes are plain. What a part is called says nothing; what it was made with does.
    """
    limit_values(connection)
    for name, made_with in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
        declared = _CHECKS.sub("", str(made_with))
        if not _PLAIN.match(declared) or _COMPUTED.search(declared):
            raise StudyError(
                f"the storage {file} has a part that SQLite would run, {short(str(name))}: a view, a trigger "
                "or a computed column, index, default or condition: drop it, or take another copy"
            )


def limit_values(connection: sqlite3.Connection, _record: object = None) -> None:
    """Keep a connection from making values that no study holds."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)


def _end(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - len(_NAMES_ANOTHER)))
        return opened.read()
