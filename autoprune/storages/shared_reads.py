"""One reading of a database for all who ask for it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SharedReads(Generic[Result]):
    """Answers each call with a reading that began after the call, and reads as rarely as that allows.

    One read runs at a time. Calls that arrive meanwhile wait for the next one together: a hundred
    calls that come while one reading goes on take one more and not a hundred.

    Args:
        read: reads once. What it raises is raised in every call that shares the read.
    """

    def __init__(self, read: Callable[[], Result]) -> None:
        self._read = read
        self._reading, self._changing = Lock(), Lock()
        self._next: Future[Result] | None = None

    def __call__(self) -> Result:
        """What a reading finds that begins from now on."""
        with self._changing:
            found, is_first = self._next or Future(), self._next is None
            self._next = found
        if is_first:
            self._fulfil(found)
        return found.result()

    def _fulfil(self, found: Future[Result]) -> None:
        with self._reading:
            with self._changing:
                # What changes after this moment may be missed: calls from now on wait for a later read.
                self._next = None
            try:
                found.set_result(self._read())
            except BaseException as error:
                found.set_exception(error)
