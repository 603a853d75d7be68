"""Workers on the nodes of a Ray cluster: an actor looks after each, and Ray finds it room.

The actor holds the CPUs and the GPU of its worker, which is a process of its own, as everywhere else: it ends
in good order when it is asked to, and none of its faults are the actor's.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoprune.config.settings import Config
from autoprune.engines.base import STOP_SECONDS, End
from autoprune.engines.process import WorkerSpec, worker_code
from autoprune.engines.ray_actor import WorkerActor
from autoprune.errors import ConfigError, MissingExtraError
from autoprune.storages import read_address
from autoprune.utils.untrusted import short_line

MOST_LOSSES = 10
"""Of one worker, after which it is not started again: nothing says that the next one will last longer."""
WAIT_SECONDS = 15.0
"""After this long, a note says that workers wait for resources."""
ANSWER_SECONDS = 10.0
"""For a cluster to answer; Ray itself would try for minutes."""
_BY_NAME = ("", "auto", "local")
"""Addresses with which Ray looks for a cluster, or begins one."""


@contextmanager
def connected(address: str | None, storage: str) -> Iterator[None]:
    """A connection to a Ray cluster while the block runs; one that the caller has already is used and kept.

    Args:
        address: of a running cluster; None for the one that ``RAY_ADDRESS`` names, else that of this machine,
            else a new one, which ends with the block.
        storage: which the workers have to reach.

    Raises:
        ConfigError: no cluster that can be used, or one of machines that cannot reach the storage.
        MissingExtraError: without Ray.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    if ray.is_initialized():
        _check_reach(storage)
        yield
        return
    place = address or os.environ.get("RAY_ADDRESS", "")
    if place not in _BY_NAME:
        _check_answers(place)
    try:
        _connect(address, place or "this machine")
        # What it notices of its nodes Ray prints on standard output, where --json writes; it has no switch.
        ray._private.worker._worker_logs_enabled = False
        _check_reach(storage)
        yield
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _check_answers(address: str) -> None:
    """Raise ConfigError unless something listens at that address."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ConfigError(f"address {address} of a Ray cluster cannot be used: write HOST:PORT of its head")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} ({short_line(error)}): "
            "begin one with ray start --head, or leave --address out"
        ) from None


def _connect(address: str | None, place: str) -> None:
    """Connect to a cluster, or begin one. Raises ConfigError, in which it is called `place`."""
    import ray

    # Of a cluster that begins here; others have chosen for themselves.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConfigError(
            f"no Ray cluster can be used at {place} ({short_line(error)}): "
            "begin one with ray start --head, or pass its --address"
        ) from None
    finally:
        # Ray puts its own handler in its place, which ends the process at once.
        if at_sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_sigterm)


def _check_reach(storage: str) -> None:
    """Raise ConfigError when there are nodes on machines that cannot reach the storage."""
    import ray

    address, nodes = read_address(storage), _nodes()
    own = ray.get_runtime_context().get_node_id()
    here = {node["NodeManagerAddress"] for node in nodes if node["NodeID"] == own}
    others = {node["NodeManagerAddress"] for node in nodes} - here
    if others and address.is_local:
        raise ConfigError(
            f"{len(others)} other machine(s) of the Ray cluster cannot reach the storage {address.shown}: "
            "use a server that they reach, postgresql://USER:PASSWORD@HOST/DATABASE or grpc://HOST:PORT"
        )


def _nodes() -> list[dict[str, Any]]:
    """What Ray says of the nodes that are alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True, eq=False)
class _Actor:
    """The Ray actor of a worker: its handle, and references to its node's address and to the worker's end."""

    name: str
    handle: Any
    place: Any
    end: Any


class RayEngine:
    """Starts the workers on a Ray cluster; the process is connected to it.

    A worker that is lost, with its node or alone, is started again where there is room.

    Args:
        config: says how many, how many threads each of them has, and whether it needs a GPU.
        study: name of the study.
        logs: folder of what they write, each on its own node.
        note: reports where workers run, and what they wait for.
    """

    def __init__(self, config: Config, study: str, logs: Path, note: Callable[[str], None]) -> None:
        resources = [node["Resources"] for node in _nodes()]
        gpus = [node.get("GPU", 0.0) for node in resources]
        self._config, self._note = config, note
        self._cpus = config.threads or equal_threads([r.get("CPU", 0.0) for r in resources], config.workers)
        wants_gpu = config.device.startswith("cuda") or (config.device == "auto" and any(gpus))
        self._gpus = equal_gpus(gpus, config.workers) if wants_gpu else 0.0
        self._spec = WorkerSpec(
            name="",
            storage=config.storage,
            study=study,
            # Of the GPUs of a node, the worker sees only what Ray gave it.
            device="cuda" if wants_gpu else "cpu",
            threads=self._cpus,
            folder=Path.cwd(),
            logs=logs,
            paths=tuple(sys.path),
            code=worker_code(config, Path.cwd()),
        )
        self._actors: list[_Actor] = []
        self._placed: set[_Actor] = set()
        self._losses: Counter[str] = Counter()
        self._over = False
        self._wait_told = time.monotonic() + WAIT_SECONDS

    def start(self) -> str:
        """Ask Ray to start all workers; returns what each of them has, in words."""
        self._actors = [self._actor(str(number + 1)) for number in range(self._config.workers)]
        return f"{self._needs} each on Ray"

    @property
    def left(self) -> int:
        """Workers that have not ended, those included that wait for room."""
        return len(self._actors)

    def ended(self) -> list[End]:
        """Those that ended since the last time. One that was lost has another in its place already."""
        over = _ready([actor.end for actor in self._actors])
        ends = [self._replaced(actor, _end_of(actor)) for actor in list(self._actors) if actor.end in over]
        self._over = self._over or any(not end.why for end in ends)
        self._tell_places()
        if self._over:
            # Without a budget left, there is nothing to do for those that still wait for room.
            self._leave([actor for actor in self._actors if actor not in self._placed])
        return ends

    def stop(self) -> None:
        """End all workers within :data:`STOP_SECONDS`."""
        import ray

        asked = [actor.handle.stop.remote(STOP_SECONDS) for actor in self._actors if actor in self._placed]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=STOP_SECONDS + 0.5)
        self._leave(self._actors)

    @property
    def _needs(self) -> str:
        gpus = f" and {self._gpus:g} GPU" if self._gpus else ""
        return f"{self._cpus} CPU(s){gpus}"

    def _actor(self, name: str) -> _Actor:
        import ray

        # Two calls at once: a worker that works can be asked to stop.
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_concurrency": 2}
        handle = ray.remote(WorkerActor).options(**options).remote()
        return _Actor(name, handle, handle.place.remote(), handle.work.remote(replace(self._spec, name=name)))

    def _replaced(self, actor: _Actor, end: End) -> End:
        """The end of a worker, in whose place another one is asked for if it was lost."""
        self._leave([actor])
        self._losses[actor.name] += end.lost
        again = end.lost and not self._over and self._losses[actor.name] < MOST_LOSSES
        if again:
            self._actors.append(self._actor(actor.name))
        return replace(end, again=again)

    def _leave(self, actors: list[_Actor]) -> None:
        """End the actors; a worker that still runs ends with its actor."""
        import ray

        for actor in list(actors):
            with suppress(ray.exceptions.RayError):
                ray.kill(actor.handle)
            self._actors.remove(actor)

    def _tell_places(self) -> None:
        import ray

        waiting = [actor for actor in self._actors if actor not in self._placed]
        found = _ready([actor.place for actor in waiting])
        for actor in [actor for actor in waiting if actor.place in found]:
            self._placed.add(actor)
            waiting.remove(actor)
            # Lost already: its end will be reported.
            with suppress(ray.exceptions.RayError):
                self._note(f"worker {actor.name} runs on {ray.get(actor.place)}")
        if waiting and not self._over and time.monotonic() > self._wait_told:
            self._wait_told = math.inf
            self._note(f"{len(waiting)} worker(s) wait for a node of the cluster with room: {self._needs}")


def _ready(references: list[Any]) -> set[Any]:
    """Those of these that Ray can tell by now."""
    import ray

    return set(ray.wait(references, num_returns=len(references), timeout=0)[0]) if references else set()


def _end_of(actor: _Actor) -> End:
    import ray

    try:
        end: End = ray.get(actor.end)
    except ray.exceptions.RayActorError:
        return End(actor.name, "its node or its actor was lost", lost=True)
    except (ray.exceptions.RayError, OSError) as error:
        return End(actor.name, f"it could not be started: {short_line(error)}")
    return end


def equal_threads(cpus: Sequence[float], workers: int) -> int:
    """The most CPU threads that every one of the workers can have; `cpus` are those of each node.

    One where the nodes have no room for all workers at once: some of them wait.
    """
    most = int(max(cpus, default=0))
    fitting = (n for n in range(most, 1, -1) if sum(int(node // n) for node in cpus) >= workers)
    return next(fitting, 1)


def equal_gpus(gpus: Sequence[float], workers: int) -> float:
    """The GPU that every one of the workers can have, or the part of one; `gpus` are those of each node."""
    whole = sum(int(node) for node in gpus)
    return 1.0 if whole == 0 else 1.0 / max(1, math.ceil(workers / whole))
