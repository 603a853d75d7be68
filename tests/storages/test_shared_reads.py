"""Readings that several callers share."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from autoprune.storages.shared_reads import SharedReads

WAIT = 30.0
CALLERS = 8


class Source:
    """Something that is read slowly, and changes meanwhile."""

    def __init__(self) -> None:
        self.value, self.readings = 0, 0
        self.begun, self.go_on = Event(), Event()

    def read(self) -> int:
        self.readings += 1
        found = self.value
        self.begun.set()
        assert self.go_on.wait(WAIT)
        return found


def test_calls_during_a_reading_share_the_next_one_which_sees_what_was_there_when_they_came() -> None:
    source, together = Source(), Barrier(CALLERS + 1)
    reads = SharedReads(source.read)

    def call() -> int:
        together.wait(WAIT)
        return reads()

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        first = pool.submit(reads)
        assert source.begun.wait(WAIT)
        source.value = 1
        others = [pool.submit(call) for _ in range(CALLERS)]
        together.wait(WAIT)
        time.sleep(0.2)
        source.go_on.set()
        assert first.result(WAIT) == 0
        assert [other.result(WAIT) for other in others] == [1] * CALLERS
    # On a busy machine some may come later than the rest.
    assert 2 <= source.readings < 1 + CALLERS


def test_calls_one_after_another_are_readings_of_their_own() -> None:
    source = Source()
    source.go_on.set()
    reads = SharedReads(source.read)
    for value in range(3):
        source.value = value
        assert reads() == value
    assert source.readings == 3


def test_a_reading_that_fails_fails_for_those_who_share_it_alone() -> None:
    answers = iter([ConnectionError("gone"), 5])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reads = SharedReads(read)
    with pytest.raises(ConnectionError, match="gone"):
        reads()
    assert reads() == 5
