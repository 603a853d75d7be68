"""The file of a storage that is in use: whether it is still where it was, and a copy of it when it is not."""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event
from typing_extensions import override

from autoprune.storages.optuna_private import bytes_read, database_behind, journal_behind

_BLOCK = 1 << 20
_WAIT_SECONDS = 60
_GONE = "was deleted or moved"


class HeldFile(ABC):
    """A storage's file, held open: what is deleted meanwhile can still be read through it.

    Args:
        file: its path.
        parts: its files, by path, each with what the message says when that one is gone.
    """

    def __init__(self, file: Path, parts: dict[Path, str]) -> None:
        self.file = file
        self._parts = {part: (_identity(part), gone) for part, gone in parts.items()}

    def trouble(self) -> str:
        """What happened to the file since it was opened, as the end of a sentence; empty if nothing did."""
        for part, (known, gone) in self._parts.items():
            try:
                found = part.stat()
            except (FileNotFoundError, NotADirectoryError):
                return gone
            except OSError as error:
                return f"cannot be reached any more ({error.strerror})"
            if (found.st_dev, found.st_ino) != known:
                return "was replaced by another file"
            if part == self.file and self._is_cut(found.st_size):
                return "was cut short or overwritten"
        return ""

    @abstractmethod
    def _is_cut(self, size: int) -> bool:
        """Whether a file of that size lacks what it had."""

    @abstractmethod
    def copy_to(self, target: Path) -> None:
        """Write what the file held, wherever it is now. Raises OSError or sqlite3.Error."""


class HeldJournal(HeldFile):
    """A journal file."""

    def __init__(self, file: Path, backend: JournalFileBackend) -> None:
        self._handle, self._backend = os.open(file, os.O_RDONLY | os.O_CLOEXEC), backend
        super().__init__(file.absolute(), {file.absolute(): _GONE})

    def __del__(self) -> None:
        """Give the handle back."""
        os.close(self._handle)

    @override
    def _is_cut(self, size: int) -> bool:
        return size < bytes_read(self._backend)

    @override
    def copy_to(self, target: Path) -> None:
        with target.open("wb") as opened:
            place = 0
            while block := os.pread(self._handle, _BLOCK, place):
                opened.write(block)
                place += len(block)


class HeldDatabase(HeldFile):
    """An SQLite file, with its log where it has one: a log that is deleted takes the last trials with it.

    From now on no connection is made to another file that lies in its place.
    """

    def __init__(self, file: Path, storage: RDBStorage) -> None:
        place = f"file:{quote(str(file.absolute()))}?mode=rw"
        self._connection = sqlite3.connect(place, uri=True, check_same_thread=False, timeout=_WAIT_SECONDS)
        self._largest = 0
        # What it reads opens the log.
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        parts = {file.absolute(): _GONE}
        log = Path(f"{file.resolve()}-wal")
        if log.exists():
            parts[log] = f"lost its log {log.name}, which was deleted or moved"
        super().__init__(file.absolute(), parts)
        event.listen(storage.engine, "do_connect", self._refuse_another)

    def _refuse_another(self, *_arguments: object) -> None:
        trouble = self.trouble()
        if trouble:
            raise sqlite3.OperationalError(trouble)

    @override
    def _is_cut(self, size: int) -> bool:
        # It grows; only VACUUM, which nobody runs during a search, would give room back.
        self._largest, before = max(self._largest, size), self._largest
        return size < before

    @override
    def copy_to(self, target: Path) -> None:
        with closing(sqlite3.connect(target)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")


def hold(storage: BaseStorage, file: Path) -> HeldFile | None:
    """The file of a storage held open; None where that cannot be done."""
    with suppress(OSError, sqlite3.Error):
        if (journal := journal_behind(storage)) is not None:
            return HeldJournal(file, journal)
        if (database := database_behind(storage)) is not None:
            return HeldDatabase(file, database)
    return None


def _identity(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino
