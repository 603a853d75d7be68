from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from autoprune.cost.latency.cpu_affinity import choose, pinned

needs_two_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two cores"
)


def test_one_hardware_thread_of_each_core_comes_first() -> None:
    siblings = {0: 0, 1: 1, 2: 0, 3: 1}
    assert choose([0, 1, 2, 3], 2, siblings) == [3, 2]
    assert choose([0, 1, 2, 3], 3, siblings) == [3, 2, 1]
    assert choose([0, 2, 3], 2, siblings) == [3, 2]
    assert choose([0, 2], 1, siblings) == [2]


@needs_two_cores
def test_all_threads_stay_on_the_same_cores_and_get_theirs_back() -> None:
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    begin, end = threading.Event(), threading.Event()

    def work() -> None:
        begin.wait(10)
        seen.append(os.sched_getaffinity(0))
        end.wait(10)
        seen.append(os.sched_getaffinity(0))

    older = threading.Thread(target=work)
    older.start()
    with pinned(1):
        mine = os.sched_getaffinity(0)
        newer = threading.Thread(target=work)
        newer.start()
        begin.set()
        while len(seen) < 2:
            time.sleep(0.001)
    end.set()
    older.join()
    newer.join()
    assert len(mine) == 1
    assert seen == [mine, mine, before, before]
    assert os.sched_getaffinity(0) == before
    with pinned(1):
        assert os.sched_getaffinity(0) == mine


@needs_two_cores
def test_with_as_many_threads_as_cores_nothing_is_pinned() -> None:
    before = os.sched_getaffinity(0)
    with pinned(len(before)):
        assert os.sched_getaffinity(0) == before
    with pytest.raises(RuntimeError), pinned(1):
        raise RuntimeError
    assert os.sched_getaffinity(0) == before
