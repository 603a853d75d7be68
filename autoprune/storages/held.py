"""The file of a storage that is in use: whether it is what it was, and a copy of it when it is not."""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event
from typing_extensions import override

from autoprune.storages.contents import CUT, Contents, Counted
from autoprune.storages.optuna_private import bytes_read, database_behind, journal_behind

_BLOCK = 1 << 20
_EDGE = 256
_WAIT_SECONDS = 60
_GONE = "was deleted or moved"
Known = Callable[[], Mapping[int, Counted]]


class HeldFile(ABC):
    """A storage's file, held open: what is deleted meanwhile can still be read through it.

    Args:
        file: its path.
        parts: its files, by path, each with what the message says when that one is gone.
    """

    def __init__(self, file: Path, parts: dict[Path, str]) -> None:
        self.file = file
        self._parts = {part: (_identity(part.stat()), gone) for part, gone in parts.items()}
        self._took_writes = [part for part in parts if os.access(part, os.W_OK)]
        # None until it was looked at: what is there when it is opened is all that is known.
        self._seen: tuple[int, int] | None = None

    def trouble(self, known: Known | None = None) -> str:
        """What happened to the file since it was opened, as the end of a sentence; empty if nothing did.

        Args:
            known: called where the file has changed, what each study had when it was read. None looks no
                further than whether the file is where it was.
        """
        found: dict[Path, os.stat_result] = {}
        for part, (identity, gone) in self._parts.items():
            try:
                found[part] = part.stat()
            except (FileNotFoundError, NotADirectoryError):
                return gone
            except OSError as error:
                return f"cannot be reached any more ({error.strerror})"
            if _identity(found[part]) != identity:
                return "was replaced by another file"
        now = found[self.file].st_size, found[self.file].st_mtime_ns
        trouble = "" if known is None or now == self._seen else self._changed(now[0], known)
        if known is not None and trouble is not None:
            self._seen = now
        return trouble or ""

    def refusal(self) -> str:
        """Why the file takes no more writes, which it took, as the end of a sentence; empty if it does."""
        shut = next((part for part in self._took_writes if not os.access(part, os.W_OK)), None)
        if shut is None:
            return ""
        return "cannot be written any more" + ("" if shut == self.file else f" (its log {shut.name})")

    @abstractmethod
    def _changed(self, size: int, known: Known) -> str | None:
        """What is wrong with the file that is another one than before; None where that cannot be seen now."""

    @abstractmethod
    def copy_to(self, target: Path) -> None:
        """Write what the file held, wherever it is now. Raises OSError or sqlite3.Error."""


class HeldJournal(HeldFile):
    """A journal file, which only ever gets longer."""

    def __init__(self, file: Path, backend: JournalFileBackend) -> None:
        self._handle, self._backend = os.open(file, os.O_RDONLY | os.O_CLOEXEC), backend
        self._edges: dict[int, bytes] = {}
        super().__init__(file.absolute(), {file.absolute(): _GONE})

    def __del__(self) -> None:
        """Give the handle back."""
        os.close(self._handle)

    @override
    def _changed(self, size: int, known: Known) -> str:
        end = bytes_read(self._backend)
        if size < end or any(self._read(place, len(edge)) != edge for place, edge in self._edges.items()):
            return CUT
        edge = min(_EDGE, end)
        self._edges = {place: self._read(place, edge) for place in (0, end - edge)}
        return ""

    def _read(self, place: int, count: int) -> bytes:
        return os.pread(self._handle, count, place)

    @override
    def copy_to(self, target: Path) -> None:
        with target.open("wb") as opened:
            place = 0
            while block := self._read(place, _BLOCK):
                opened.write(block)
                place += len(block)


class HeldDatabase(HeldFile):
    """An SQLite file, with its log where it has one: a log that is deleted takes the last trials with it.

    From now on no connection is made to another file that lies in its place.
    """

    def __init__(self, file: Path, storage: RDBStorage) -> None:
        place = f"file:{quote(str(file.absolute()))}?mode=rw"
        self._connection = sqlite3.connect(place, uri=True, check_same_thread=False, timeout=_WAIT_SECONDS)
        self._contents, self._size = Contents(file.absolute()), file.stat().st_size
        # What it reads opens the log.
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        parts = {file.absolute(): _GONE}
        for suffix in ("-wal", "-shm"):
            log = Path(f"{file.resolve()}{suffix}")
            if log.exists():
                parts[log] = f"lost its log {log.name}, which was deleted or moved"
        super().__init__(file.absolute(), parts)
        event.listen(storage.engine, "do_connect", self._refuse_another)

    def _refuse_another(self, *_arguments: object) -> None:
        trouble = self.trouble()
        if trouble:
            raise sqlite3.OperationalError(trouble)

    @override
    def _changed(self, size: int, known: Known) -> str | None:
        trouble = self._contents.trouble(known(), shrunk=size < self._size)
        if trouble == "":
            self._size = size
        return trouble

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


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
