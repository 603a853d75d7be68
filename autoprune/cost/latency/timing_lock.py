"""A lock that lets only one timing run on a machine at a time, whatever the number of workers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autoprune.errors import ConfigError, TrialError


def timing_lock_path() -> Path:
    """The lock file: in the temporary directory, shared by all users and processes that use the same one."""
    return Path(tempfile.gettempdir()) / "autoprune-timing.lock"


@contextmanager
def timing_lock(wait_seconds: float = 600.0) -> Iterator[None]:
    """Hold the machine's timing lock.

    Raises TrialError when it is not free within ``wait_seconds``, ConfigError when it cannot be made.
    """
    path = timing_lock_path()
    # Workers of other users lock the same file, hence the mode.
    lock = FileLock(path, timeout=wait_seconds, mode=0o666)
    try:
        lock.acquire()
    except Timeout:
        raise TrialError(
            f"other processes have held {path} for {wait_seconds:g} s: stop them, or measure later"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"cannot lock {path} for timing ({error.strerror}): set TMPDIR to a writable folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
