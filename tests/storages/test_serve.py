"""``autoprune serve``, as a worker on another machine meets it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.storages import open_storage

pytest.importorskip("grpc", reason="the extra grpc is not installed")
Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server on a free port."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "autoprune", "serve", "--port", "0", *arguments]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def address_of(process: subprocess.Popen[str]) -> str:
    """What it prints first: the storage that workers name."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_study_is_there_after_the_server(serve: Serve, tmp_path: Path, stop: signal.Signals) -> None:
    process = serve("--storage", "studies.db")
    address = address_of(process)
    assert address.startswith("grpc://127.0.0.1:")
    study = optuna.create_study(storage=open_storage(address, must_exist=False), study_name="one")
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), 0.5)

    process.send_signal(stop)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 0, said
    assert said.strip() == "Ctrl-C stops the server."
    kept = optuna.load_study(storage=f"sqlite:///{tmp_path}/studies.db", study_name="one")
    assert [trial.values for trial in kept.trials] == [[0.5]]


def test_who_opens_it_to_all_is_warned_and_no_password_is_shown(serve: Serve, database: str) -> None:
    process = serve("--storage", database, "--host", "0.0.0.0")
    address = address_of(process)
    assert address.startswith("grpc://0.0.0.0:")
    port = address.rpartition(":")[2]
    optuna.create_study(storage=open_storage(f"grpc://127.0.0.1:{port}", must_exist=False), study_name="one")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert "Anyone who reaches this address can read, change and delete studies" in said
    assert "Secret1" not in address + said


def test_what_cannot_be_served_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = CliRunner().invoke(app, ["serve", "--storage", "journal:studies.log"])
    assert journal.exit_code == 2
    assert journal.stderr == "error: the storage studies.log cannot be served: serve a database\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = CliRunner().invoke(app, ["serve", "--storage", "studies.db", "--port", port])
    assert busy.exit_code == 2
    assert busy.stderr == f"error: cannot listen on 127.0.0.1:{port}: pass another --port or --host\n"
