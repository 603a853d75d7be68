"""The one place where a ``--storage`` value becomes an Optuna storage."""

from __future__ import annotations

from optuna.storages import BaseStorage

from autoprune.storages.address import read_address
from autoprune.storages.database import open_database
from autoprune.storages.journal import open_journal
from autoprune.storages.patience import Note, PatientStorage
from autoprune.storages.proxy import open_proxy
from autoprune.storages.trouble import explained


def open_storage(text: str, *, must_exist: bool, note: Note | None = None) -> BaseStorage:
    """The Optuna storage that a text names.

    ========================================  =========================================================
    ``studies.db``, ``sqlite:///studies.db``  one SQLite file, for the processes of one machine
    ``postgresql://...``, ``mysql://...``     a database server (extras ``postgres`` and ``mysql``)
    ``journal:FILE``, ``FILE.journal``        Optuna's journal file, also in a folder of several machines
    ``grpc://HOST:PORT``                      what ``autoprune serve`` serves (extra ``grpc``)
    ========================================  =========================================================

    With ``must_exist`` nothing is created: neither a file nor tables. Once opened, a server that goes away
    is waited for; ``note`` is told so.

    Raises:
        StudyError: a text that cannot be read, a missing file or folder, a file of another kind, or a
            server that does not answer. Passwords are in no message.
        MissingExtraError: when the driver is not installed.
    """
    address = read_address(text)
    with explained(address):
        if address.kind == "journal":
            return open_journal(address, must_exist=must_exist)
        storage = (
            open_proxy(address) if address.kind == "grpc" else open_database(address, must_exist=must_exist)
        )
    return PatientStorage(storage, address.shown, note or _ignore) if address.is_remote else storage


def _ignore(_text: str) -> None:
    pass
