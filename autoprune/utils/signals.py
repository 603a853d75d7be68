"""Stopping in good order: SIGTERM counts as Ctrl-C does, and neither breaks off what has to be finished."""

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
"""Seconds that a block which has to be finished may still take once it is asked to stop."""
_ASKED = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine, or whoever runs it, wants the process to end."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a process that ended so: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def is_stop(code: int) -> bool:
    """Whether that is the exit code of a process that was asked to stop."""
    return code in [128 + number for number in _ASKED]


def leave(code: int) -> NoReturn:
    """End the process without taking its modules apart, which with PyTorch's takes two seconds.

    What is registered with :mod:`atexit` is done. Asked to stop meanwhile, the process ends at once.
    """
    for number in _ASKED:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def take_signals() -> None:
    """Have SIGTERM raise :class:`Terminated` in the main thread, and remember both signals for :func:`check`.

    One that is ignored, or that somebody else handles, is left alone.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, _stop)
    sys.unraisablehook = _report_dropped


def check() -> None:
    """Raise again what a signal has raised before: it got lost, for nobody would go on to here otherwise.

    Python drops what a signal raises in the middle of a finalizer, and a library may catch it.
    """
    if _raised:
        raise _raised[-1]


@contextmanager
def finishing() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done, for :data:`PATIENCE` seconds at most.

    Asked a second time, the process stops at once. In other threads than the main one, to which signals do
    not go, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    # A handler that is None was not set by Python, and one that ignores goes on ignoring.
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

    # The signal again, which is not held back a second time.
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
    """Report what Python drops, but for a stop, which :func:`check` raises again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


_raised: list[type[KeyboardInterrupt]] = []
