"""Worker processes on this machine, which share its threads and take turns on its GPUs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from autoprune.config.settings import Config
from autoprune.engines.base import STOP_SECONDS, End
from autoprune.engines.process import WorkerProcess, WorkerSpec, stop_processes, worker_code


class LocalEngine:
    """Starts the workers as processes of this machine. One that ends early is not started again.

    Args:
        config: says how many, and how many threads they share.
        study: name of the study.
        logs: folder of what they write.
    """

    def __init__(self, config: Config, study: str, logs: Path) -> None:
        self._config, self._study, self._logs = config, study, logs
        self._workers: list[WorkerProcess] = []

    def start(self) -> str:
        """Start all workers; returns what each of them has, in words."""
        threads = threads_each(self._config)
        for number in range(self._config.workers):
            spec = WorkerSpec(
                name=str(number + 1),
                storage=self._config.storage,
                study=self._study,
                device=_device(self._config.device, number),
                threads=threads,
                folder=Path.cwd(),
                logs=self._logs,
                paths=tuple(sys.path),
                code=worker_code(self._config, Path.cwd()),
            )
            self._workers.append(WorkerProcess.start(spec))
        return f"{threads} thread(s) each"

    @property
    def left(self) -> int:
        """Workers that have not ended."""
        return len(self._workers)

    def ended(self) -> list[End]:
        """Those that ended since the last time."""
        ends = [(worker, worker.end) for worker in self._workers]
        self._workers = [worker for worker, end in ends if end is None]
        return [end for _, end in ends if end is not None]

    def stop(self) -> None:
        """End all workers within :data:`STOP_SECONDS`."""
        stop_processes(self._workers, STOP_SECONDS)
        self._workers = []


def threads_each(config: Config) -> int:
    """CPU threads of each worker: those of the settings or of this process, in equal parts."""
    return max(1, (config.threads or torch.get_num_threads()) // config.workers)


def _device(wanted: str, number: int) -> str:
    """The device of one worker: of several GPUs, each takes its turn."""
    if wanted in ("auto", "cuda") and torch.cuda.device_count() > 1:
        return f"cuda:{number % torch.cuda.device_count()}"
    return wanted
