"""Read before any test module: each worker process of the tests has one core to itself, and takes Ctrl-C."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest
from mysql_server import MySQLServer, running_mysql
from postgresql_server import Server, running_server

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background makes them ignore Ctrl-C, and all that they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running PostgreSQL server."""
    with running_server() as server:
        yield server


@pytest.fixture
def database(postgresql: Server) -> str:
    """URL of a new database, with a password in it."""
    return postgresql.database(f"studies_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    """A running MariaDB server."""
    with running_mysql() as server:
        yield server


@pytest.fixture
def mysql_database(mysql: MySQLServer) -> str:
    """URL of a new database in it, with a password."""
    return mysql.database(f"studies_{uuid.uuid4().hex[:12]}")
