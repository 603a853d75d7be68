"""Atomic file writes: a file is complete or absent, even if the process is killed or the disk is full."""

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
"""Age after which a partial file is a leftover of a killed process."""


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file, in UTF-8 if it is text, and create its folder if it is missing.

    The content is flushed to disk. Raises OSError if it cannot be written; the previous file is then
    unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name())
    try:
        # Always a new file, never through an existing link.
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name() -> str:
    """A name for a file until it is complete: hidden, unique, and short enough for every file system."""
    return f"{_PREFIX}{uuid.uuid4().hex[:12]}{_SUFFIX}"


def put_in_place(partial: Path, path: Path) -> None:
    """Flush a complete file to disk and rename it atomically, on the same file system.

    Raises OSError if that fails.
    """
    _sync(partial, os.O_RDWR)
    partial.replace(path)
    with suppress(OSError):  # some systems cannot sync a folder
        _sync(path.parent, os.O_RDONLY)


def sweep(folder: Path) -> None:
    """Delete the partial files that killed processes left in a folder."""
    oldest = time.time() - STALE_SECONDS
    for file in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


@contextmanager
def full_disk_errors() -> Iterator[None]:
    """Convert the OSError of a full disk to a DiskError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or "a file"
        raise DiskError(
            f"cannot write {place} ({error.strerror}): free some space, then run the same command again"
        ) from error


def why_not_written(error: OSError) -> str:
    """The reason, and what to do."""
    return f"({error.strerror or error}): free some space or choose another folder"


def _sync(path: Path, how: int) -> None:
    """Flush to disk, so that the data survives a power cut."""
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
