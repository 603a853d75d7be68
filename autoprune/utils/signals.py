"""Graceful stopping: SIGTERM works like Ctrl-C, and neither interrupts a block that must finish."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

PATIENCE = 3.0
"""Seconds that a block that must finish may still take after a stop request."""
_ASKED = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """The conventional exit code of a stopped process: 128 plus the signal number."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def is_stop(code: int) -> bool:
    """Whether this is the exit code of a stopped process."""
    return code in [128 + number for number in _ASKED]


def leave(code: int) -> NoReturn:
    """End the process without module teardown, which takes two seconds with PyTorch.

    Functions registered with :mod:`atexit` are called. Another stop request ends the process at once.
    """
    for number in _ASKED:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the pipe is closed
            stream.flush()
    os._exit(code)


def take_signals() -> None:
    """Make SIGTERM raise :class:`Terminated` in the main thread, and record both signals for :func:`check`.

    Signals that are ignored or have another handler are not changed.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, _stop)
    sys.unraisablehook = _report_dropped


def check() -> None:
    """Raise the exception of an earlier signal again if it was swallowed.

    Python drops exceptions that a signal raises in a finalizer, and a library may catch them.
    """
    if _raised:
        raise _raised[-1]


@contextmanager
def finishing() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block is done, for at most :data:`PATIENCE` seconds.

    A second request stops the process at once. In threads other than the main one, which receive no signals,
    this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    # A handler that is None was not set by Python; ignored signals stay ignored.
    handlers = {number: signal.getsignal(number) for number in _ASKED}
    held = {number: old for number, old in handlers.items() if callable(old)}

    def hold(number: int, _frame: FrameType | None) -> None:
        if asked:
            release(number)
        asked.append(number)
        timer.start()

    def release(number: int) -> None:
        timer.cancel()
        for kept, old in held.items():
            signal.signal(kept, old)
        signal.raise_signal(number)

    # Send the signal again; it is not deferred a second time.
    timer = threading.Timer(
        PATIENCE, lambda: signal.pthread_kill(threading.main_thread().ident or 0, asked[0])
    )
    timer.daemon = True
    for number in held:
        signal.signal(number, hold)
    try:
        yield
    finally:
        timer.cancel()
        for number, old in held.items():
            signal.signal(number, old)
        if asked:
            signal.raise_signal(asked[0])


def _stop(number: int, _frame: FrameType | None) -> None:
    _raised.append(Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    raise _raised[-1]


def _report_dropped(dropped: sys.UnraisableHookArgs) -> None:
    """Report dropped exceptions, except for a stop, which :func:`check` raises again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


_raised: list[type[KeyboardInterrupt]] = []
