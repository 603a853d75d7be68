"""Writing files: each appears whole or not at all, whatever kills the process or fills the disk."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoprune.errors import DiskError

_PREFIX, _SUFFIX = ".autoprune-", ".partial"
STALE_SECONDS = 3600.0
"""A partial file that was not touched for so long is one that its writer left when it was killed."""


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file, in UTF-8 if it is text, and its folder where that is missing.

    The content is on the disk when this returns. Raises OSError where that cannot be done; what was there
    before is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name())
    try:
        # A new file, never through a link that lies there.
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name() -> str:
    """A name for a file until it is complete: hidden, its own, of a length that every file system takes."""
    return f"{_PREFIX}{uuid.uuid4().hex[:12]}{_SUFFIX}"


def put_in_place(partial: Path, path: Path) -> None:
    """Give a file that is complete its name, on the same file system, in one step; it is on the disk then.

    Raises OSError where that cannot be done.
    """
    _sync(partial, os.O_RDWR)
    partial.replace(path)
    with suppress(OSError):  # some systems cannot sync a folder
        _sync(path.parent, os.O_RDONLY)


def sweep(folder: Path) -> None:
    """Delete what writers left in a folder when they were killed."""
    oldest = time.time() - STALE_SECONDS
    for file in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raise DiskError, with what to do about it, where a full disk raises OSError."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or "a file"
        raise DiskError(
            f"cannot write {place} ({error.strerror}): make room, then run the same command again"
        ) from error


def why_not_written(error: OSError) -> str:
    """The reason, and what to do about it."""
    return f"({error.strerror or error}): make room or choose another folder"


def _sync(path: Path, how: int) -> None:
    """Have what was written survive a power cut too."""
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
