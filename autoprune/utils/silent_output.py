"""Keep the output of compiled code out of standard output, which a program may be reading."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_output() -> Iterator[None]:
    """Discard everything that the block writes to the process's standard output.

    HiGHS has prints that no option turns off. A process without standard output is not changed.
    """
    sys.stdout.flush()
    _flush_compiled()
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        _flush_compiled()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush_compiled() -> None:
    """Flush C's buffers, which are flushed late for pipes and files."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
