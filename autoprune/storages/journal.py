"""A journal file: one line of JSON an operation, for folders that several machines share."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from typing_extensions import override

from autoprune.errors import StudyError
from autoprune.storages.address import Address
from autoprune.storages.database import check_place
from autoprune.storages.optuna_private import lead_beside

_BLOCK = 1 << 16


class RepairingLock(JournalFileSymlinkLock):
    """The journal's lock; its holder first cuts off the line that a killed writer left half written.

    Such a tail is skipped when the journal is read, but what is appended after it would be lost with it,
    and the journal could not be read any more.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        lead_beside(self, file)
        self._file = file

    @override
    def acquire(self) -> bool:
        """Wait for the lock, then see to the file's end."""
        super().acquire()
        try:
            repair(self._file)
        except BaseException:
            self.release()
            raise
        return True


def open_journal(address: Address, *, must_exist: bool) -> BaseStorage:
    """The storage in a journal file. Raises StudyError for a file that holds something else."""
    file = address.file
    assert file is not None
    check_place(file, must_exist)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            _check_beginning(file)
            return JournalStorage(JournalFileBackend(str(file), RepairingLock(file)))
        except OSError as error:
            raise StudyError(f"the storage {file} cannot be used: {error.strerror}") from None
        except (ValueError, KeyError, AssertionError):
            raise StudyError(
                f"the journal {file} is damaged before its end: take a copy of an earlier state"
            ) from None


def repair(file: Path) -> int:
    """Cut off what follows the last complete line; returns how many bytes that were.

    Only while the journal's lock is held.
    """
    with file.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        end = _end_of_last_line(opened.fileno(), size)
        if end < size:
            opened.truncate(end)
            os.fsync(opened.fileno())
    return size - end


def _end_of_last_line(handle: int, size: int) -> int:
    """Place after the file's last line break; 0 where there is none."""
    stop = size
    while stop > 0:
        start = max(0, stop - _BLOCK)
        found = os.pread(handle, stop - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0


def _check_beginning(file: Path) -> None:
    if not file.exists():
        return
    with file.open("rb") as opened:
        if opened.read(1) not in (b"", b"{"):
            raise StudyError(f"{file} is no journal of Optuna: name another file as the storage")
