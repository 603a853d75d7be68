"""One worker process.

It is a new process rather than a fork: a fork would copy PyTorch's threads in the middle of what they do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoprune.config.commands import flag
from autoprune.config.settings import Config, located
from autoprune.engines.base import End
from autoprune.engines.parent import PARENT_VARIABLE
from autoprune.study.trust import code_words
from autoprune.utils.python_process import module_paths, python_words

STORAGE_VARIABLE = "AUTOPRUNE_STORAGE"
"""Environment: the storage, whose password no list of processes then shows."""


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker process is to do.

    Attributes:
        name: its name among the workers.
        storage: an Optuna storage, with its password.
        study: name of the study.
        device: where it trains and scores.
        threads: CPU threads.
        folder: where it works, in which relative paths are found.
        logs: folder of what it writes, from there.
        paths: where it finds modules, as the process does that starts it.
        code: flags that name the user code of the study, as the user did.
    """

    name: str
    storage: str
    study: str
    device: str
    threads: int
    folder: Path
    logs: Path
    paths: tuple[str, ...] = ()
    code: tuple[str, ...] = ()


def worker_code(config: Config, folder: Path) -> tuple[str, ...]:
    """The flags by which a worker may run the user code of these settings; files are found from `folder`."""
    return code_words({**config.model_dump(), **located(config, folder)})


@dataclass(frozen=True, eq=False)
class WorkerProcess:
    """``autoprune worker``, started by this process, which it does not outlive.

    Attributes:
        name: its name among the workers.
        process: the process.
        log: what it wrote.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, spec: WorkerSpec) -> WorkerProcess:
        """Start it; it may run the code that the user named when the search was started, and no other."""
        log = spec.folder / spec.logs / f"worker-{spec.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = python_words(["-m", "autoprune", "worker", *flag("--study", spec.study), "--quiet"])
        command += ["--threads", str(spec.threads), "--name", spec.name, "--device", spec.device]
        command += spec.code
        environment = {
            **os.environ,
            STORAGE_VARIABLE: spec.storage,
            PARENT_VARIABLE: str(os.getpid()),
            "OMP_NUM_THREADS": str(spec.threads),
            **module_paths(spec.paths, spec.folder),
        }
        # A file of its own: a link in its place could lead anywhere.
        log.unlink(missing_ok=True)
        with log.open("xb") as file:
            process = subprocess.Popen(
                command,
                cwd=spec.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the process that manages the workers, which passes it on.
                start_new_session=True,
            )
        return cls(spec.name, process, log)

    @property
    def end(self) -> End | None:
        """How it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        if code == 0:
            return End(self.name)
        said = self._last_line()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return End(self.name, f"{how}{': ' if said else ''}{said}", lost=code < 0)

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else ""


def stop_processes(workers: Sequence[WorkerProcess], seconds: float) -> None:
    """Ask all of them to stop, and kill those that have not within so many seconds."""
    running = [worker.process for worker in workers if worker.process.poll() is None]
    for process in running:
        process.terminate()
    until = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
