"""A MariaDB server of the tests' own, in a temporary folder, on a free port of the loopback address."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ACCOUNT = "mysql"
_USER, _PASSWORD = "studies", "Secret1"
_START_SECONDS = 120.0
# A commit outlives the server's crash all the same, only not the machine's.
_QUICK = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--skip-log-bin")
_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")


@dataclass(frozen=True)
class MySQLServer:
    """One server. As root it runs as the user that the package made."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls) -> MySQLServer:
        """A new server that answers."""
        folder = Path(tempfile.mkdtemp(prefix="autoprune-mysql-"))
        if os.getuid() == 0:
            shutil.chown(folder, _ACCOUNT)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = (f"--datadir={folder / 'data'}", f"--tmpdir={folder}")
        done = subprocess.run(
            _as_account(
                "mariadb-install-db", "--no-defaults", *data, "--auth-root-authentication-method=normal"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        places = (f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", f"--port={port}")
        command = _as_account(
            "mariadbd", "--no-defaults", *data, *places, "--bind-address=127.0.0.1", *_QUICK
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        server = cls(folder, port, process)
        server._wait()
        server._run(
            f"CREATE USER {_USER}@localhost IDENTIFIED BY '{_PASSWORD}'",
            f"GRANT ALL ON *.* TO {_USER}@localhost",
        )
        return server

    def database(self, name: str) -> str:
        """URL of a new database, with the password in it."""
        self._run(f"CREATE DATABASE {name}")
        return f"mysql://{_USER}:{_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        """Stop it, and delete what it stored."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while self._client("SELECT 1").returncode:
            ended = self.process.poll() is not None or time.monotonic() > until
            assert not ended, (self.folder / "log").read_text(errors="replace")
            time.sleep(0.2)

    def _run(self, *statements: str) -> None:
        done = self._client(";".join(statements))
        assert done.returncode == 0, done.stdout

    def _client(self, statement: str) -> subprocess.CompletedProcess[bytes]:
        command = ["mariadb", "--no-defaults", f"--socket={self.folder / 'socket'}", "-u", "root"]
        return subprocess.run([*command, "-e", statement], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _as_account(program: str, *arguments: str) -> list[str]:
    command = [_place(program) or program, *arguments]
    if os.getuid() == 0:
        return ["setpriv", f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups", *command]
    return command


def _place(program: str) -> str | None:
    """Where a program is; servers are not on the path of every user."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running_mysql() -> Iterator[MySQLServer]:
    """A new server, which is gone afterwards. Skips the test where MariaDB or the driver is missing."""
    pytest.importorskip("pymysql", reason="the extra mysql is not installed")
    if not all(_place(program) for program in _PROGRAMS):
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    server = MySQLServer.start()
    try:
        yield server
    finally:
        server.remove()
