"""A PostgreSQL server of the tests' own, in a temporary folder, on a free port of the loopback address."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_USER = "postgres"
# Without fsync a commit outlives the server's crash all the same, only not the machine's.
_QUICK = ("fsync=off", "full_page_writes=off", "max_connections=200")


def binaries() -> Path | None:
    """The folder with the server's programs; None where PostgreSQL is not installed."""
    found = [Path(path).parent for path in (shutil.which("pg_ctl"),) if path]
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *found]
    needed = ("initdb", "pg_ctl", "createdb")
    return next((f for f in folders if all((f / program).is_file() for program in needed)), None)


@dataclass(frozen=True)
class Server:
    """One cluster. It refuses to run as root: then it runs as the user that the package made."""

    binaries: Path
    folder: Path
    port: int

    @classmethod
    def create(cls, binaries: Path) -> Server:
        """A new cluster that is not running yet."""
        folder = Path(tempfile.mkdtemp(prefix="autoprune-postgresql-"))
        if os.getuid() == 0:
            shutil.chown(folder, _USER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = cls(binaries, folder, port)
        server._run("initdb", "-D", folder / "data", "-U", _USER, "--auth=trust", "--no-sync")
        return server

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *_QUICK)
        options = " ".join(f"-c {setting}" for setting in settings)
        data, log = self.folder / "data", self.folder / "log"
        self._run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop: ``fast`` ends all connections, ``immediate`` is as a crash."""
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def database(self, name: str, template: str | None = None) -> str:
        """URL of a new database, empty or a copy. Its password is not looked at: every user is let in."""
        copied = [] if template is None else ["-T", template]
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, *copied, name)
        return f"postgresql://{_USER}:Secret1@127.0.0.1:{self.port}/{name}"

    @property
    def pid(self) -> int:
        """Its first process, the parent of all others."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def remove(self) -> None:
        """Delete the cluster."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command]
        done = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout


@contextmanager
def running_server() -> Iterator[Server]:
    """A new server, which is gone afterwards. Skips the test where PostgreSQL or its driver is missing."""
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = Server.create(found)
    server.start()
    yield server
    if server.is_running:
        server.stop("immediate")
    server.remove()
