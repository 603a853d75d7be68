"""Folders that others may have written to: files are read and written only inside, links are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoprune.errors import StudyError
from autoprune.utils.atomic_files import partial_name
from autoprune.utils.plain_files import require_plain

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Without O_NONBLOCK, opening a pipe without a writer would block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class ContainedFolder:
    """A folder below one that the user named.

    Each subfolder is opened relative to its parent's handle, so that no link can be swapped in between a
    check and its use.

    Attributes:
        base: a folder that the user named; it may be a link.
        parts: names of the folders below it; none of them may be a link.
    """

    base: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The folder's path, for messages and for readers that need a path."""
        return self.base.joinpath(*self.parts)

    def check(self) -> None:
        """Raise StudyError if a part of the path is a link or a file; folders may be missing."""
        with suppress(FileNotFoundError), self._opened():
            pass

    def open_file(self, name: str) -> BinaryIO:
        """Open a file of the folder for reading.

        Raises:
            FileNotFoundError: if it is missing.
            OSError: if it is not a regular file, such as a link.
            StudyError: as :meth:`check`.
        """
        _check_name(name)
        with self._opened() as folder:
            handle = _open_plain(name, folder)
        return os.fdopen(handle, "rb")

    def has(self, name: str) -> bool:
        """Whether there is such a regular file, not a link or a device. Raises StudyError."""
        _check_name(name)
        try:
            with self._opened() as folder:
                return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def replace(self, name: str, content: bytes) -> None:
        """Write a file atomically, creating the folder if necessary; a link of that name is replaced.

        Raises:
            OSError: if it cannot be written.
            StudyError: as :meth:`check`.
        """
        _check_name(name)
        with self._opened(make=True) as folder:
            partial = partial_name()
            how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            handle = os.open(partial, how, 0o666, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)
            with suppress(OSError):  # some systems cannot sync a folder
                os.fsync(folder)

    def remove(self, name: str) -> None:
        """Delete a file, or a link itself. Raises FileNotFoundError if it is missing, StudyError."""
        _check_name(name)
        with self._opened() as folder:
            os.unlink(name, dir_fd=folder)

    @contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[int]:
        """A handle of the folder."""
        if make:
            self.base.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for depth, part in enumerate(self.parts, start=1):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                handle = self._step(handle, part, self.base.joinpath(*self.parts[:depth]))
            yield handle
        finally:
            os.close(handle)

    def _step(self, handle: int, part: str, shown: Path) -> int:
        """Close this handle and return that of the next folder."""
        try:
            below = os.open(part, _FOLDER, dir_fd=handle)
        except FileNotFoundError:
            raise
        except OSError as error:
            mode = os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                raise
            kind = "a link, which may lead anywhere" if stat.S_ISLNK(mode) else "not a folder"
            raise StudyError(
                f"{shown} is {kind}: a study's files must be in its own folder: replace it with a folder"
            ) from error
        os.close(handle)
        return below


def _open_plain(name: str, folder: int) -> int:
    """A handle of a regular file. Raises OSError for a link, a pipe, a device or a folder."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError(f"{name} is no file")
    handle = os.open(name, _FILE, dir_fd=folder)
    require_plain(handle, name)
    return handle


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a plain file name")
