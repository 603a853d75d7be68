"""Standard output and error as users bring them: of few letters, closed, full, or no longer read."""

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
"""Name of what is done with letters that the terminal does not have."""
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
    """Give the process three streams that take every letter.

    One that is closed gets a stand-in: the next file to be opened would get its number, and what a library
    prints would go into that file. What is written to a closed standard output fails, as on a full disk.
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
    """A stream that keeps what went wrong: who writes to it may go on, and nothing is left to be flushed."""

    failure: OSError | None = None
    was_closed = False

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _stream(number: int, known: TextIO | None) -> io.TextIOWrapper:
    """The standard stream of that number, as it was but for its errors."""
    encoding = "utf-8" if known is None else known.encoding
    lines = known is not None and known.isatty()
    output = _Output(number, "w", closefd=False)
    output.was_closed = known is None
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, _PLAIN, line_buffering=lines)


def lost_output() -> str:
    """Why nothing that is printed arrives, once; empty where it does, and where nobody reads it any more."""
    with suppress(OSError):
        sys.stdout.flush()
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(output, _Output) or output.failure is None:
        return ""
    failure = output.failure
    if isinstance(failure, BrokenPipeError):
        return ""
    # What is still to be written is dropped, or the interpreter would try it again at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    output.failure = None
    reason = "it is closed" if output.was_closed else failure.strerror
    return f"nothing can be written to standard output ({reason})"


def is_unread() -> bool:
    """Whether whoever read the pipe of standard output has had enough, as ``head`` has."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_LETTERS)
    return text.encode("ascii", "replace").decode(), error.end
