"""Opens the storage of a study: one SQLite file, or a database server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from autoprune.errors import StudyError

# A writer holds the file for milliseconds, a reader of a long study for seconds.
_SQLITE_WAIT_SECONDS = 60
_SQLITE_HEADER = b"SQLite format 3\x00"
_DRIVERS = {"MySQLdb": "mysqlclient"}
_SHOWN = 10


def open_storage(url: str, *, must_exist: bool) -> BaseStorage:
    """The Optuna storage at ``url`` (``sqlite:///FILE``, ``postgresql://...``, ``mysql://...``).

    With ``must_exist`` nothing is created: neither a file nor tables.

    Raises:
        StudyError: a URL that cannot be read, a missing file or folder, a file that is no SQLite
            database, or a server that does not answer. Passwords are in no message.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed, must_exist)
        engine: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_WAIT_SECONDS}}
    else:
        engine = {"pool_pre_ping": True}
    # Optuna takes the URL for a format string, in which braces must be doubled.
    literal = url.replace("{", "{{").replace("}", "}}")
    with _explained(parsed):
        return RDBStorage(literal, engine_kwargs=engine, skip_table_creation=must_exist)


def open_study(url: str, name: str | None) -> optuna.Study:
    """The study called ``name``; None means the one of autoprune's studies that was active last.

    Raises:
        StudyError: as :func:`open_storage`, or no such study.
    """
    storage = open_storage(url, must_exist=True)
    parsed = _parse(url)
    with _explained(parsed):
        names = optuna.get_all_study_names(storage)
        if name is not None and name in names:
            return optuna.load_study(study_name=name, storage=storage)
        ours = studies_in(storage)
        if not ours:
            raise _no_study(parsed)
        if name is not None:
            raise StudyError(_unknown(name, [study.study_name for study in ours], parsed))
        return ours[0] if len(ours) == 1 else max(ours, key=_last_active)


def studies_in(storage: BaseStorage) -> list[optuna.Study]:
    """The studies that autoprune made."""
    names = optuna.get_all_study_names(storage)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [study for study in studies if "autoprune" in study.user_attrs]


def folder_beside(url: str) -> Path:
    """Where files of the storage's studies are kept: beside an SQLite file, else in the working folder."""
    scheme, _, path = url.partition(":///")
    parent = Path(path).parent if scheme == "sqlite" and path else Path()
    return parent / "autoprune_artifacts"


def _last_active(study: optuna.Study) -> datetime:
    trials = study.get_trials(deepcopy=False)
    times = (time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time)
    return max(times, default=datetime.min)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise StudyError(
            f"the storage {_without_secrets(url)!r} is no database URL: "
            "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if "@" in (parsed.host or ""):
        raise StudyError("the user or password in the storage URL has an @: write it as %40")
    return parsed


def _check_file(url: URL, must_exist: bool) -> None:
    """Raise StudyError unless the SQLite file is there, or may be created."""
    if url.host:
        raise StudyError(f"the storage {_shown(url)} has too few slashes: write sqlite:///{url.host}")
    name = url.database
    if name in (None, "", ":memory:"):
        if must_exist:
            raise StudyError("a storage in memory holds no study: name a file, as in sqlite:///autoprune.db")
        return
    path = Path(str(name))
    if str(name).startswith("file:"):
        raise StudyError(f"the storage {_shown(url)} cannot be used: write the path alone, sqlite:///FILE")
    if path.is_dir():
        raise StudyError(f"the storage {path} is a folder: name a file in it")
    if path.exists():
        _check_header(path)
    elif must_exist:
        raise StudyError(f"there is no storage {path}: run autoprune search first, or name another storage")
    elif not path.parent.is_dir():
        raise StudyError(f"the storage {path} cannot be created: make the folder {path.parent} first")


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise StudyError(f"the storage {path} cannot be read: {error.strerror}") from None
    if header and header != _SQLITE_HEADER:
        raise StudyError(f"{path} is no SQLite database: name another file as the storage")


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    """Turn what databases raise into a StudyError of one line without the password."""
    try:
        yield
    except NoSuchModuleError:
        raise StudyError(
            f"the storage {_shown(url)} is of an unknown kind: write sqlite:///FILE or postgresql://..."
        ) from None
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "its driver"
        package = _DRIVERS.get(missing, missing)
        raise StudyError(f"the storage {_shown(url)} needs a driver: pip install {package}") from None
    except RuntimeError as error:
        if "schema" not in str(error):
            raise
        raise StudyError(
            f"the storage {_shown(url)} was made by another version of Optuna: "
            "run optuna storage upgrade --storage URL, or install that version"
        ) from None
    except (StorageInternalError, SQLAlchemyError) as error:
        raise _unusable(url, error) from None


def _unusable(url: URL, error: Exception) -> StudyError:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    reason = lines[0] if lines else type(cause).__name__
    if re.search(r"no such table|does not exist|doesn't exist|UndefinedTable", reason):
        return _no_study(url)
    if url.password:
        reason = reason.replace(str(url.password), "***")
    return StudyError(f"the storage {_shown(url)} cannot be used: {reason}")


def _no_study(url: URL) -> StudyError:
    return StudyError(f"the storage {_shown(url)} holds no study of autoprune: run autoprune search first")


def _unknown(name: str, names: list[str], url: URL) -> str:
    near = get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ":"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there is no study {name!r} in {_shown(url)}{hint} there are {', '.join(names[:_SHOWN])}{more}"


def _shown(url: URL) -> str:
    """The URL without password and query, for SQLite the file."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    return url.set(query={}).render_as_string(hide_password=True)


def _without_secrets(text: str) -> str:
    return re.sub(r".*@", "***@", text).partition("?")[0]
