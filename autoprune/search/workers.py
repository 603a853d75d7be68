"""Several processes on one machine that search together, and the one that looks after them.

Each of them is ``autoprune worker``, started anew rather than forked: a fork would copy PyTorch's threads in
the middle of what they do. They talk to each other through the study alone.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.trial import TrialState

from autoprune.config import Config
from autoprune.errors import ConfigError, TrialError
from autoprune.review import Listener
from autoprune.search.keep import WeightStore
from autoprune.search.loop import begin, wait_for_others
from autoprune.search.presence import PARENT_VARIABLE
from autoprune.search.problem import Problem
from autoprune.search.rescue import INTERRUPTED, revive
from autoprune.search.spent import DEADLINE, Spent, spent
from autoprune.search.study import SAMPLER
from autoprune.storages import read_address

STORAGE_VARIABLE = "AUTOPRUNE_STORAGE"
"""Environment: the storage, whose password no list of processes then shows."""
LOOK_SECONDS = 0.5
"""Between two looks at the workers and the study."""
STOP_SECONDS = 3.5
"""For a worker that is asked to stop, until it is killed."""


@dataclass(frozen=True, eq=False)
class Worker:
    """One process that was started.

    Attributes:
        name: its number, from 1.
        process: the process.
        log: what it wrote.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        said = self._last_line()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"{how}{': ' if said else ''}{said}"

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else ""


def run_workers(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Search with as many processes as the settings say, until the budget of all together is spent.

    A worker that dies is reported, its trial is run again, and the others go on. Ctrl-C stops all of them:
    their trials are queued again, and KeyboardInterrupt is raised again.

    Raises TrialError when no worker is left and the budget is not spent.
    """
    begin(problem, study, store, listener)
    listener.phase("search", str(problem.budget))
    view = _View(problem, study, listener)
    with ExitStack() as stack:
        workers = _start(problem, study, store)
        stack.callback(_stop, workers, study)
        each = f"{threads_each(problem)} thread(s) each"
        listener.note(f"{len(workers)} workers of {each}; their logs are in {store.folder}")
        alive = list(workers)
        while alive:
            time.sleep(LOOK_SECONDS)
            for worker in [worker for worker in alive if worker.process.poll() is not None]:
                alive.remove(worker)
                _report(worker, study, listener, left=len(alive))
            # Showing a trial takes a while in a long study: the workers come first.
            view.update(LOOK_SECONDS)
    failed = [worker for worker in workers if worker.process.returncode != 0]
    if len(failed) == len(workers) and not view.spent().is_over:
        raise TrialError(f"all {len(workers)} workers ended early, the last one by {failed[-1].end}")
    wait_for_others(study, listener)
    view.update()


def check_sharable(config: Config, is_object: Mapping[str, bool]) -> None:
    """Raise ConfigError for what other processes cannot get: a storage in memory, or Python objects.

    `is_object` says of model and data whether they were handed over as objects.
    """
    if read_address(config.storage) == read_address("sqlite://"):
        raise ConfigError("workers cannot share a storage in memory: name a file or a database")
    for what in (name for name, given in is_object.items() if given):
        raise ConfigError(
            f"workers are processes of their own and cannot get a Python object: give {what} as a text that "
            f"names a function, {what}='path/file.py:name', or search with workers=1"
        )


def threads_each(problem: Problem) -> int:
    """CPU threads of each worker: those of the settings or of this process, in equal parts."""
    return max(1, (problem.config.threads or torch.get_num_threads()) // problem.config.workers)


def _start(problem: Problem, study: optuna.Study, store: WeightStore) -> list[Worker]:
    store.folder.mkdir(parents=True, exist_ok=True)
    threads = str(threads_each(problem))
    environment = {
        **os.environ,
        STORAGE_VARIABLE: problem.config.storage,
        PARENT_VARIABLE: str(os.getpid()),
        "OMP_NUM_THREADS": threads,
        # What this process can import, such as modules beside the user's script, the workers can.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "autoprune", "worker", "--study", study.study_name]
    # The user named all code of this study when this search was started.
    command += ["--trust", "--quiet", "--threads", threads]
    workers: list[Worker] = []
    try:
        for number in range(problem.config.workers):
            own = [*command, "--name", str(number + 1), "--device", _device(problem, number)]
            workers.append(_spawn(own, environment, str(number + 1), store.folder))
    except BaseException:
        _stop(workers, study)
        raise
    return workers


def _spawn(command: Sequence[str], environment: Mapping[str, str], name: str, folder: Path) -> Worker:
    log = folder / f"worker-{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal is for the process that looks after them, which tells them.
            start_new_session=True,
        )
    return Worker(name, process, log)


def _device(problem: Problem, number: int) -> str:
    """The device of one worker: of several GPUs, each takes its turn."""
    wanted = problem.config.device
    if wanted in ("auto", "cuda") and torch.cuda.device_count() > 1:
        return f"cuda:{number % torch.cuda.device_count()}"
    return wanted


def _report(worker: Worker, study: optuna.Study, listener: Listener, *, left: int) -> None:
    """Say that a worker ended before its time, and have its trial run again."""
    if worker.process.returncode == 0:
        return
    revive(study)
    listener.note(f"worker {worker.name} ended early ({worker.end}): {left} left")


def _stop(workers: Sequence[Worker], study: optuna.Study) -> None:
    """End all workers within :data:`STOP_SECONDS`, and queue again what they did not finish."""
    running = [worker for worker in workers if worker.process.poll() is None]
    if not running:
        return
    for worker in running:
        worker.process.terminate()
    until = time.monotonic() + STOP_SECONDS
    for worker in running:
        try:
            worker.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    revive(study, reason=INTERRUPTED)


class _View:
    """Tells a listener what all workers do, as if this process had done it."""

    def __init__(self, problem: Problem, study: optuna.Study, listener: Listener) -> None:
        self._problem, self._study, self._listener = problem, study, listener
        self._ended = {trial.number for trial in self._trials() if trial.state.is_finished()}
        self._begun = set(self._ended)

    def spent(self) -> Spent:
        """What is used of the budget now."""
        return spent(self._problem.budget, self._study, self._study.user_attrs.get(DEADLINE))

    def update(self, seconds: float = math.inf) -> None:
        """Tell what happened since the last time, for so long at most; the rest is told next time."""
        until = time.monotonic() + seconds
        count = self.spent().count
        for trial in self._trials():
            if time.monotonic() > until:
                return
            if trial.state is TrialState.WAITING:
                continue
            if trial.number not in self._begun:
                self._begun.add(trial.number)
                self._listener.trial_started(trial.number, trial.user_attrs.get("origin", SAMPLER), count)
            if trial.state.is_finished() and trial.number not in self._ended:
                self._ended.add(trial.number)
                self._listener.trial_finished(self._study, trial, count)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)
