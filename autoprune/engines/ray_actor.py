"""The actor that looks after one worker on a node of a Ray cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoprune.engines.base import End
from autoprune.engines.process import WorkerProcess, WorkerSpec, stop_processes


class WorkerActor:
    """Starts one worker process on its node and waits for its end."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None

    def place(self) -> str:
        """The node's address."""
        import ray

        return str(ray.util.get_node_ip_address())

    def work(self, spec: WorkerSpec) -> End:
        """Start the worker; returns when and how it ended."""
        folder = spec.folder if spec.folder.is_dir() else Path.cwd()
        self._worker = WorkerProcess.start(replace(spec, folder=folder))
        self._worker.process.wait()
        end = self._worker.end
        assert end is not None
        return end

    def stop(self, seconds: float) -> None:
        """Ask the worker to stop, and kill it if it has not within so many seconds."""
        if self._worker is not None:
            stop_processes([self._worker], seconds)
