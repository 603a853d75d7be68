"""The one place where a ``--storage`` value becomes an Optuna storage."""

from __future__ import annotations

from optuna.storages import BaseStorage

from autoprune.storages.address import Address, read_address
from autoprune.storages.database import open_database
from autoprune.storages.guarded import GuardedStorage
from autoprune.storages.held import hold
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
    is waited for, and ``note`` reports that.

    Raises:
        StudyError: a text that cannot be read, a missing file or folder, a file of another kind, or a
            server that does not answer. Passwords are in no message.
        MissingExtraError: when the driver is not installed.
    """
    address = read_address(text)
    with explained(address):
        if address.kind == "journal":
            return _guarded(open_journal(address, must_exist=must_exist), address)
        if not address.is_remote:
            return _guarded(open_database(address, must_exist=must_exist), address)
        remote = (
            open_proxy(address) if address.kind == "grpc" else open_database(address, must_exist=must_exist)
        )
    return PatientStorage(_guarded(remote, address), address.shown, note or _ignore)


def _guarded(storage: BaseStorage, address: Address) -> GuardedStorage:
    """The storage, with its file held open where it has one."""
    return GuardedStorage(storage, address, None if address.file is None else hold(storage, address.file))


def _ignore(_text: str) -> None:
    pass
