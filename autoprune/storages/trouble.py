"""What databases and servers raise, as one line that says what to do."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from autoprune.errors import AutopruneError, DiskError, MissingExtraError, StudyError
from autoprune.storages.address import Address

_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
"""Driver -> the extra that brings it."""
_PACKAGES = {"MySQLdb": "mysqlclient"}


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn what storages raise into a StudyError of one line without the password."""
    try:
        yield
    except NoSuchModuleError:
        raise StudyError(
            f"the storage {address.shown} is of an unknown kind: write sqlite:///FILE or postgresql://..."
        ) from None
    except ImportError as error:
        raise _missing(address, error) from None
    except RuntimeError as error:
        if "schema" not in str(error):
            raise
        # Optuna proposes an upgrade of the tables where it knows their version.
        if "storage upgrade" in str(error):
            found, advice = "an older", "run optuna storage upgrade --storage URL, or install that version"
        else:
            found, advice = "a newer", "run pip install --upgrade optuna, or name another storage"
        raise StudyError(
            f"the storage {address.shown} was made by {found} version of Optuna: {advice}"
        ) from None
    except (StorageInternalError, SQLAlchemyError) as error:
        raise unusable(address, error) from None
    except Exception as error:
        if not is_outage(error):
            raise
        raise StudyError(
            f"the storage {address.shown} does not answer: start autoprune serve there, or check the address"
        ) from None


def no_study(address: Address) -> StudyError:
    """The storage is there, but nothing of ours in it."""
    return StudyError(f"the storage {address.shown} holds no study of autoprune: run autoprune search first")


def is_outage(error: BaseException) -> bool:
    """Whether the connection to a server failed: the same call may succeed when the server is back."""
    if isinstance(error, StorageInternalError):
        cause = error.__cause__
        return cause is not None and is_outage(cause)
    # Optuna may ask once more within the transaction that the outage has broken.
    if isinstance(error, OperationalError | InterfaceError | PendingRollbackError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    grpc = sys.modules.get("grpc")
    return grpc is not None and isinstance(error, grpc.RpcError) and error.code() in _unreachable(grpc)


def broken(error: Exception) -> str:
    """What makes a storage one that takes nothing any more, as the end of a sentence; empty for the rest."""
    grpc = sys.modules.get("grpc")
    if grpc is not None and isinstance(error, grpc.RpcError):
        return f"fails at its server ({_first_line(error.details())})"
    if isinstance(error, JSONDecodeError) or "Invalid log format" in str(error):
        return f"is damaged ({error})"
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return f"cannot be written any more ({getattr(error, 'strerror', None)})"
    reason = _reason(error) if isinstance(error, StorageInternalError | SQLAlchemyError) else ""
    if re.search(r"malformed|not a database|no such table|disk I/O error", reason):
        return f"is damaged ({reason})"
    if re.search(r"readonly database|unable to open database|permission denied", reason, re.IGNORECASE):
        return f"cannot be written any more ({reason})"
    return ""


def _reason(error: Exception) -> str:
    """The first line of what a database says."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return _first_line(str(getattr(cause, "orig", None) or cause)) or type(cause).__name__


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _unreachable(grpc: object) -> tuple[object, ...]:
    codes = grpc.StatusCode  # type: ignore[attr-defined]
    return codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED, codes.CANCELLED


def _missing(address: Address, error: ImportError) -> Exception:
    name = getattr(error, "name", None) or getattr(error.__cause__, "name", None) or "its driver"
    if name in _EXTRAS:
        return MissingExtraError(name, _EXTRAS[name])
    package = _PACKAGES.get(name, name)
    return StudyError(f"the storage {address.shown} needs a driver: pip install {package}")


def unusable(address: Address, error: Exception) -> AutopruneError:
    """What a storage raised, as one line without its password."""
    reason = _reason(error)
    if re.search(r"no such table|relation .* does not exist|doesn't exist|UndefinedTable", reason):
        return no_study(address)
    if address.url is not None and address.url.password:
        reason = reason.replace(str(address.url.password), "***")
    if re.search(r"disk is full|No space left|disk quota", reason, re.IGNORECASE):
        return DiskError(
            f"the storage {address.shown}: {reason}: free some space, then run the same command again"
        )
    return StudyError(f"the storage {address.shown} cannot be used: {reason}")
