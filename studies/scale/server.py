"""A PostgreSQL server in a temporary folder, and ``autoprune serve`` in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from postgresql_server import Server, binaries


@contextmanager
def postgresql() -> Iterator[Server]:
    """A running server."""
    found = binaries()
    if found is None:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    server = Server.create(found)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        server.remove()


@contextmanager
def served(url: str) -> Iterator[tuple[str, int]]:
    """A database over gRPC: where, and the process that serves it."""
    command = [sys.executable, "-m", "autoprune", "serve", "--storage", url, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), server.pid
        finally:
            server.terminate()


def processor_seconds(pid: int) -> float:
    """What a process and its children, also those that have ended, have used of the processor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    ticks = sum(map(int, own)) / os.sysconf("SC_CLK_TCK")
    return ticks + sum(processor_seconds(int(child)) for child in children)
