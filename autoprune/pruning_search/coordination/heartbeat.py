"""Which process runs a trial, and whether that process still lives."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from autoprune.storages.optuna_private import storage_of, trial_id_of
from autoprune.study.attributes import HEARTBEAT, PROCESS

HEARTBEAT_SECONDS = 15.0
"""Between two signs of life of a trial."""
MISSED = 8
"""Signs of life that have to be missing until a process on another machine counts as dead."""
UNSIGNED = 3
"""The same for a trial that nobody has put a name to: its process died between two calls."""

Process = Mapping[str, Any]


@cache
def _host() -> dict[str, str]:
    """This machine, and the numbering of processes: containers may share a name and count for themselves."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return {"host": platform.node(), "space": space}


def this_process() -> dict[str, Any]:
    """Which process runs a trial, so that its death can be noticed."""
    return {**_host(), "pid": os.getpid(), "born": _born(os.getpid())}


def is_mine(process: Process | None) -> bool:
    """Whether that is the process at hand."""
    if process is None or not _is_here(process):
        return False
    return bool(process["pid"] == os.getpid()) and not _reborn(process)


def is_gone(process: Process | None) -> bool:
    """Whether that process of this machine has ended; false where this machine cannot tell."""
    if process is None or not _is_here(process):
        return False
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _reborn(process)


def _is_here(process: Process) -> bool:
    here = _host()
    return process.get("host") == here["host"] and process.get("space", here["space"]) == here["space"]


def _reborn(process: Process) -> bool:
    """Whether its number belongs to another process by now."""
    born = process.get("born")
    return born is not None and born != _born(process["pid"])


def _born(pid: int) -> int | None:
    """When a process began, in ticks since the system did; None where that is not known, and for the dead."""
    with suppress(OSError, ValueError, IndexError):
        # The name of the program, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # What has ended keeps its number until its parent asks how.
        return None if fields[0] in "ZX" else int(fields[19])
    return None


class Heartbeat:
    """Signs of life of the trial at hand, from a thread of its own: training may take hours."""

    def __init__(self, study: optuna.Study, seconds: float = HEARTBEAT_SECONDS) -> None:
        self._study, self._seconds = study, seconds

    @contextmanager
    def of(self, trial: optuna.Trial) -> Iterator[None]:
        """Beat for this trial meanwhile."""
        over = threading.Event()
        thread = threading.Thread(target=self._send_signs, args=(trial_id_of(trial), over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    def _send_signs(self, trial_id: int, over: threading.Event) -> None:
        count = 0
        while not over.wait(self._seconds):
            count += 1
            try:
                storage_of(self._study).set_trial_user_attr(trial_id, HEARTBEAT, count)
            except UpdateFinishedTrialError:
                return
            except Exception:  # the trial's own calls meet the same trouble, and report it
                continue


@dataclass
class _LastHeartbeat:
    """A sign of life, and for how long there was no other."""

    sign: object
    at: float
    silent: float = 0.0


@dataclass
class LostTrialFinder:
    """Finds the running trials whose processes are dead.

    On this machine a process that has ended is found at once. Elsewhere, heartbeats stop. They are counted by
    this process's own clock, whatever the others' clocks say, and only while this process looks: when the
    storage was away, nobody could give a sign.
    """

    seconds: float = HEARTBEAT_SECONDS
    _seen: dict[int, _LastHeartbeat] = field(default_factory=dict)

    def lost(self, trials: list[FrozenTrial], mine: int | None = None) -> list[FrozenTrial]:
        """Those of the running `trials` that nobody runs any more; `mine` is what this process runs."""
        now = time.monotonic()
        self._seen = {trial.number: self._look(trial, now) for trial in trials}
        return [trial for trial in trials if trial.number != mine and self._is_lost(trial)]

    def _look(self, trial: FrozenTrial, now: float) -> _LastHeartbeat:
        sign = trial.user_attrs.get(HEARTBEAT), trial.user_attrs.get(PROCESS)
        latest = self._seen.get(trial.number)
        if latest is None or latest.sign != sign:
            return _LastHeartbeat(sign, now)
        # A long time between two looks says that this process was away, not the other.
        return _LastHeartbeat(sign, now, latest.silent + min(now - latest.at, 2 * self.seconds))

    def _is_lost(self, trial: FrozenTrial) -> bool:
        process = trial.user_attrs.get(PROCESS)
        if is_gone(process) or is_mine(process):
            return True
        missed = UNSIGNED if process is None else MISSED
        return self._seen[trial.number].silent > missed * self.seconds
