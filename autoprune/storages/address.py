"""What a ``--storage`` value names."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from autoprune.errors import StudyError
from autoprune.utils.redact import without_passwords
from autoprune.utils.untrusted import MOST_TEXT, is_file, short

FORMS = "a path or sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE, journal:FILE or grpc://HOST:PORT"
_SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_JOURNAL, _JOURNAL_SUFFIX = "journal:", ".journal"
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The driver that is meant where a URL names none, whatever SQLAlchemy's version prefers."""
_LAST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A storage that can be opened.

    Attributes:
        kind: an SQLite file, a database server, a journal file, or a gRPC server in front of a storage.
        shown: how messages name it: as it was typed, without password and query.
        url: of a database; None for the other kinds.
        file: of an SQLite database or a journal; None for servers, and for a database in memory.
        host: of a gRPC server.
        port: of a gRPC server.
    """

    kind: Literal["sqlite", "server", "journal", "grpc"]
    shown: str
    url: URL | None = None
    file: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over a connection, which can break and come back."""
        return self.kind in ("server", "grpc")

    @property
    def is_local(self) -> bool:
        """Whether no other machine can reach it. The folder of a journal may be shared."""
        host = self.host if self.url is None else self.url.host or ""
        return self.kind == "sqlite" or (self.is_remote and (not host or is_loopback(host)))


def read_address(text: str) -> Address:
    """The storage that a text names: a path, a URL, ``journal:FILE`` or ``FILE.journal``.

    Raises StudyError for a text that names none; no password is in its message.
    """
    if len(text) > MOST_TEXT:
        raise StudyError(f"the name of the storage is longer than {MOST_TEXT} characters: write {FORMS}")
    if text.startswith(_JOURNAL) or (text.endswith(_JOURNAL_SUFFIX) and "://" not in text):
        return _journal(text.removeprefix(_JOURNAL))
    if text.startswith("grpc://"):
        return _grpc(text)
    if "://" not in text and _is_path(text):
        text = f"sqlite:///{text}"
    url = _database(text)
    if url.get_backend_name() != "sqlite":
        shown = url.set(query={}).render_as_string(hide_password=True)
        return Address("server", shown, url.set(drivername=_DRIVERS.get(url.drivername, url.drivername)))
    name = str(url.database or "")
    file = Path(name) if name not in ("", ":memory:") else None
    return Address("sqlite", name or "sqlite://", url, file)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _journal(name: str) -> Address:
    if not name:
        raise StudyError("the storage journal: names no file: write journal:FILE")
    return Address("journal", name, file=Path(name))


def _grpc(text: str) -> Address:
    host, _, port = text.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not host or "@" in host or not port.isdecimal() or not 0 < int(port) <= _LAST_PORT:
        raise StudyError(
            f"the storage {short(without_passwords(text))} cannot be read: write grpc://HOST:PORT"
        )
    return Address("grpc", f"grpc://{host}:{port}", host=host, port=int(port))


def _is_path(text: str) -> bool:
    """Whether a text without a scheme is the path of a database rather than a mistake."""
    if not text or "@" in text:
        return False
    path = Path(text)
    return "/" in text or path.suffix in _SQLITE_SUFFIXES or is_file(path)


def _database(text: str) -> URL:
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError):
        shown = without_passwords(text).partition("?")[0]
        raise StudyError(f"the storage {short(shown)} is no database URL: write {FORMS}") from None
    if "@" in (url.host or ""):
        raise StudyError("the user or password in the storage URL has an @: write it as %40")
    return url
