"""Whether an SQLite file still holds what it held, read past the caches of connections that are open."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autoprune.utils.sqlite_files import limit_values

CUT = "was cut short or overwritten"
FEWER = "lacks trials that it had, as an older copy put in its place would"
_PAUSE_SECONDS = 0.3
_SHARE = 20
"""The whole file is checked in at most one of so many seconds."""
_COUNT = (
    "SELECT count(*), count(CASE WHEN state IN ('COMPLETE', 'PRUNED', 'FAIL') THEN 1 END) "
    "FROM trials WHERE study_id = ?"
)


@dataclass(frozen=True)
class Counted:
    """How many trials a study has.

    Attributes:
        trials: all of them.
        finished: those that take no more writes.
    """

    trials: int
    finished: int


@dataclass
class Contents:
    """What an SQLite file holds, to be looked at whenever the file is another one than before.

    Other processes may write, write the log back into the file, or VACUUM it meanwhile.

    Attributes:
        file: the database.
    """

    file: Path
    _next_check: float = 0.0

    def trouble(self, known: Mapping[int, Counted], *, shrunk: bool) -> str | None:
        """What is wrong, as the end of a sentence; empty if nothing is, None where that cannot be seen now.

        Args:
            known: what each study had when it was last read, by its number.
            shrunk: whether the file is smaller than before.
        """
        try:
            if not self._is_whole(shrunk):
                return CUT
            with closing(self._connect("mode=ro")) as connection:
                if any(_lacks(connection, study, counted) for study, counted in known.items()):
                    return FEWER
                return self._damage(connection)
        except (sqlite3.OperationalError, OSError):  # locked, say: what is done with it next fails by itself
            return None
        except sqlite3.DatabaseError as error:
            return f"is damaged ({error})"

    def _is_whole(self, shrunk: bool) -> bool:
        """Whether the file alone, without its log, is a database.

        While its log is written back into it, a file may lack pages for a moment, or until the next time if
        the process was killed. One that is smaller than before lacks none.
        """
        if self._is_readable(shrunk):
            return True
        time.sleep(_PAUSE_SECONDS)
        return self._is_readable(shrunk)

    def _is_readable(self, shrunk: bool) -> bool:
        size = self.file.stat().st_size
        try:
            with closing(self._connect("mode=ro&immutable=1")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
                ((page,),) = connection.execute("PRAGMA page_size").fetchall()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return not shrunk and "not a database" not in str(error)
        # A file of no size is an empty database for SQLite.
        return bool(size > 0 and size % page == 0)

    def _damage(self, connection: sqlite3.Connection) -> str:
        began = time.monotonic()
        if began < self._next_check:
            return ""
        ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        ended = time.monotonic()
        self._next_check = ended + _SHARE * (ended - began)
        return "" if found == "ok" else f"is damaged ({' '.join(found.split())})"

    def _connect(self, how: str) -> sqlite3.Connection:
        # A new connection has read nothing yet, and SQLite itself sees to the locks of those that are open.
        connection = sqlite3.connect(f"file:{quote(str(self.file))}?{how}", uri=True)
        limit_values(connection)
        return connection


def _lacks(connection: sqlite3.Connection, study: int, counted: Counted) -> bool:
    """Whether a study that is there has fewer trials than it had."""
    if not connection.execute("SELECT 1 FROM studies WHERE study_id = ?", (study,)).fetchall():
        return False
    ((trials, finished),) = connection.execute(_COUNT, (study,)).fetchall()
    return bool(trials < counted.trials or finished < counted.finished)
