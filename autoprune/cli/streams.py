"""Robust standard output and error: with a limited character set, closed, full, or no longer read."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from typing_extensions import override

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = "autoprune.plain"
"""Name of the error handler for characters that the terminal lacks."""
_LETTERS = str.maketrans(
    {
        "±": "+/-",
        "\N{MULTIPLICATION SIGN}": "x",
        "→": "->",
        "…": "...",
        "≤": "<=",
        "≥": ">=",
        "\N{EN DASH}": "-",
        "·": "-",
        "✓": "+",
        "─": "-",
    }
)


def ready() -> None:
    """Set up the three standard streams so that they accept every character.

    A closed stream is replaced: otherwise the next opened file would get its number, and library output would
    go into that file. Writing to a closed standard output fails, as on a full disk.
    """
    for number, stand_in in enumerate((os.devnull, "/dev/full", os.devnull)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(stand_in if Path(stand_in).exists() else os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    codecs.register_error(_PLAIN, _plain)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)
    sys.stderr.reconfigure(line_buffering=True)


class _Output(io.FileIO):
    """A stream that records a write error, so that it can be reported once at the end."""

    failure: OSError | None = None
    was_closed = False

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _stream(number: int, original: TextIO | None) -> io.TextIOWrapper:
    """The standard stream of that number, unchanged except for its error handling."""
    encoding = "utf-8" if original is None else original.encoding
    lines = original is not None and original.isatty()
    output = _Output(number, "w", closefd=False)
    output.was_closed = original is None
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, _PLAIN, line_buffering=lines)


def lost_output() -> str:
    """Why output cannot be written, reported once; empty if it can, or if the reader has closed the pipe."""
    with suppress(OSError):
        sys.stdout.flush()
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(output, _Output) or output.failure is None:
        return ""
    failure = output.failure
    if isinstance(failure, BrokenPipeError):
        return ""
    # Drop the pending output, or the interpreter would try to write it again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    output.failure = None
    reason = "it is closed" if output.was_closed else failure.strerror
    return f"cannot write to standard output ({reason})"


def is_unread() -> bool:
    """Whether the reader of the pipe has closed it, as ``head`` does."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_LETTERS)
    return text.encode("ascii", "replace").decode(), error.end
