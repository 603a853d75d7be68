"""Saving a study whose storage was taken away to a new one, beside the old place or elsewhere."""

from __future__ import annotations

import os
import shlex
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from autoprune.storages.address import Address
from autoprune.storages.held import HeldFile
from autoprune.storages.memory import KnownStudy
from autoprune.utils.atomic_files import put_in_place
from autoprune.utils.sqlite_files import check_beside, check_tables

_NAME = "autoprune.db"
"""Of a storage without a file."""
_LONGEST = 60
"""Of the former name, so that the new one is not too long for the file system."""
_FAILURES = (OSError, sqlite3.Error, SQLAlchemyError, optuna.exceptions.OptunaError)


def save(
    address: Address, trouble: str, studies: Sequence[KnownStudy], file: HeldFile | None
) -> tuple[str, str]:
    """Save studies to a new storage of the same kind: a copy of the file where it can still be read.

    Several processes that search together find one and the same file, and none of them replaces another's.

    Returns what to tell the user in one line, and what to give as ``--storage``; the latter is empty where no
    folder takes the file.
    """
    lost = f"the storage {address.shown} {trouble}"
    for folder in _folders(address):
        with suppress(*_FAILURES):
            saved = _save_in(folder, address, studies, file)
            storage = (
                f"journal:{saved}" if address.kind == "journal" and saved.suffix != ".journal" else str(saved)
            )
            text = f"{lost}: the study was saved to {saved}: go on with --storage {shlex.quote(storage)}"
            return text, storage
    return f"{lost}, and no folder could be written to save the study: free some space, and search again", ""


def _folders(address: Address) -> Iterator[Path]:
    """Where to save, the best place first; a folder that is gone is not made again."""
    if address.file is not None:
        yield address.file.parent
    for place in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):  # there is none
            yield place()


def _save_in(folder: Path, address: Address, studies: Sequence[KnownStudy], file: HeldFile | None) -> Path:
    """The file in the folder that holds the studies."""
    opened = _open_journal if address.kind == "journal" else _open_database
    with tempfile.TemporaryDirectory(dir=folder, prefix=".autoprune-") as own:
        made = Path(own, "copy")
        with suppress(*_FAILURES):
            if file is not None:
                file.copy_to(made)
        if not _holds(made, studies, opened):
            made = Path(own, "written")
            storage = opened(made)
            for study in studies:
                study.write_to(storage)
            _close(storage)
        for name in _names(address):
            target = folder / name
            try:
                os.link(made, target)
            except FileExistsError:
                if not _holds(target, studies, opened):
                    continue
            else:
                put_in_place(made, target)
            return target
    raise AssertionError("names never end")


def _names(address: Address) -> Iterator[str]:
    file = address.file or Path(_NAME)
    for number in count(1):
        yield f"{file.stem[:_LONGEST]}.rescued{'' if number == 1 else f'-{number}'}{file.suffix}"


def _holds(file: Path, studies: Sequence[KnownStudy], opened: Callable[[Path], BaseStorage]) -> bool:
    """Whether the file is a storage with all that is known of the studies."""
    if not file.is_file():
        return False
    try:
        storage = opened(file)
    except Exception:  # what lies there may be anything
        return False
    try:
        return all(study.is_in(storage) for study in studies)
    finally:
        _close(storage)


def _open_journal(file: Path) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return JournalStorage(JournalFileBackend(str(file)))


def _open_database(file: Path) -> BaseStorage:
    if file.is_file():
        check_beside(file)
        with closing(sqlite3.connect(file)) as connection:
            check_tables(connection, file)
    literal = str(file.absolute()).replace("{", "{{").replace("}", "}}")
    return RDBStorage(f"sqlite:///{literal}")


def _close(storage: BaseStorage) -> None:
    """Have all of it in the one file."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
