"""Which cores run a timing: a thread that moves between cores leaves its caches behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CORES = Path("/sys/devices/system/cpu")
_THREADS = Path("/proc/self/task")


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep every thread of this process on ``threads`` fixed cores meanwhile, and afterwards as before.

    The cores are always the same ones for the same number of threads, one hardware thread of each physical
    core first. Threads and programs that are started meanwhile run there too. Nothing is pinned where the
    system has no such call (macOS, Windows), refuses it, or has no core to spare.
    """
    if sys.platform != "linux" or threads >= len(allowed := os.sched_getaffinity(0)):
        yield
        return
    before = {thread: cores for thread in _threads() if (cores := _cores_of(thread))}
    _move(dict.fromkeys(before, frozenset(choose(sorted(allowed), threads))))
    try:
        yield
    finally:
        # A thread that was started meanwhile gets what the process may use.
        _move({thread: before.get(thread, frozenset(allowed)) for thread in _threads()})


def choose(allowed: Sequence[int], threads: int, siblings: Mapping[int, int] | None = None) -> list[int]:
    """That many of the allowed cores, highest numbers first: the first ones often serve interrupts.

    ``siblings`` gives the physical core of each core; the default asks the system.
    """
    physical = {core: _physical(core) for core in allowed} if siblings is None else siblings
    first: list[int] = []
    rest: list[int] = []
    seen: set[int] = set()
    for core in sorted(allowed, reverse=True):
        (rest if physical[core] in seen else first).append(core)
        seen.add(physical[core])
    return [*first, *rest][:threads]


def _physical(core: int) -> int:
    """The lowest-numbered hardware thread of the same physical core; itself where that is not known."""
    with suppress(OSError, ValueError):
        text = (_CORES / f"cpu{core}" / "topology" / "thread_siblings_list").read_text()
        return int(text.replace("-", ",").split(",")[0])
    return core


def _threads() -> list[int]:
    with suppress(OSError):
        return [int(entry.name) for entry in _THREADS.iterdir()]
    return []


def _cores_of(thread: int) -> frozenset[int]:
    with suppress(OSError):  # the thread has ended
        return frozenset(os.sched_getaffinity(thread))
    return frozenset()


def _move(threads: Mapping[int, frozenset[int]]) -> None:
    for thread, cores in threads.items():
        with suppress(OSError):  # the thread has ended, or the system refuses
            os.sched_setaffinity(thread, cores)
