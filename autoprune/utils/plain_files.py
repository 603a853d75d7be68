"""Opening files that others may have put there: pipes are not waited for, devices not read without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path) -> BinaryIO:
    """A file, open to be read; links to files are followed.

    Raises:
        FileNotFoundError: when it is missing.
        OSError: when it is something else than a file, or cannot be opened.
    """
    # Opening a pipe that nobody writes to would otherwise block.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    require_plain(handle, str(path))
    return os.fdopen(handle, "rb")


def require_plain(handle: int, name: str) -> None:
    """Raise OSError, and close the handle, unless it is one of a file."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no file", name)


def read_plain(path: Path, most_bytes: int) -> bytes:
    """What a file holds. Raises OSError, also for one that is longer."""
    with open_plain(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {most_bytes:,} bytes", str(path))
    return content
