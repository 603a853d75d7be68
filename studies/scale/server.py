"""A PostgreSQL server in a temporary folder, and ``autoprune serve`` in front of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from postgresql_server import Server, binaries


@contextmanager
def postgresql() -> Iterator[str]:
    """URL of a new database."""
    found = binaries()
    if found is None:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    server = Server.create(found)
    server.start()
    try:
        yield server.database("studies")
    finally:
        server.stop("immediate")
        server.remove()


@contextmanager
def served(url: str) -> Iterator[str]:
    """The same over gRPC."""
    command = [sys.executable, "-m", "autoprune", "serve", "--storage", url, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
