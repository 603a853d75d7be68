"""What each worker gets, where it may search, and how processes of this machine end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import autoprune
from autoprune.config.settings import load_config
from autoprune.engines.choice import engine_ready
from autoprune.engines.process import WorkerProcess, WorkerSpec, stop_processes, worker_code
from autoprune.engines.ray import equal_gpus, equal_threads
from autoprune.errors import ConfigError, MissingExtraError
from autoprune.storages import read_address

MODEL = "autoprune.tasks.zoo:digits_resnet"


@pytest.mark.parametrize(
    ("cpus", "workers", "threads"),
    [
        ([8, 8, 8, 8], 4, 8),
        ([8, 8, 8, 8], 5, 4),  # no node has room for two of more
        ([8, 8, 8, 8], 3, 8),
        ([4, 16], 3, 5),  # all of them on the larger node
        ([1, 1], 4, 1),  # two wait
        ([], 2, 1),
    ],
)
def test_workers_share_the_cpus_of_a_cluster(cpus: list[float], workers: int, threads: int) -> None:
    assert equal_threads(cpus, workers) == threads


@pytest.mark.parametrize(
    ("gpus", "workers", "share"),
    [([1, 1], 2, 1.0), ([4], 2, 1.0), ([1, 1], 4, 0.5), ([1, 1], 3, 0.5), ([2], 5, 1 / 3), ([0, 0], 2, 1.0)],
)
def test_workers_share_the_gpus_of_a_cluster(gpus: list[float], workers: int, share: float) -> None:
    assert equal_gpus(gpus, workers) == share


@pytest.mark.parametrize(
    ("storage", "is_local"),
    [
        ("studies.db", True),
        ("postgresql://me@localhost/studies", True),
        ("postgresql:///studies", True),
        ("grpc://127.0.0.1:13000", True),
        ("postgresql://me:secret@db/studies", False),
        ("grpc://10.0.0.5:13000", False),
        ("journal:/shared/studies.log", False),
    ],
)
def test_which_storages_other_machines_reach(storage: str, is_local: bool) -> None:
    assert read_address(storage).is_local == is_local


def test_an_address_without_its_engine_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"address 10\.0\.0\.5:6379 is of a Ray cluster: add --engine ray"):
        autoprune.search(MODEL, address="10.0.0.5:6379")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = r"ray is not installed: pip install 'autoprune\[ray\]'"
    with pytest.raises(MissingExtraError, match=said), engine_ready(load_config(None, {"engine": "ray"})):
        pass


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers at 127\.0\.0\.1:1 \(.*refused\): begin one"),
        ("ray://10.0.0.5:10001", "cannot be used: write HOST:PORT of its head"),
        ("nonsense", "cannot be used: write HOST:PORT of its head"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(address: str, says: str) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    config = load_config(None, {"engine": "ray", "address": address})
    with pytest.raises(ConfigError, match=says), engine_ready(config):
        pass


def test_a_python_object_cannot_go_to_a_cluster() -> None:
    with pytest.raises(ConfigError, match="cannot get a Python object: give model as a string"):
        autoprune.search(autoprune.tasks.digits_resnet(), engine="ray")


def test_a_process_ends_with_its_last_words(tmp_path: Path) -> None:
    spec = WorkerSpec(
        "1", f"sqlite:///{tmp_path}/none.db", "one", "cpu", 1, tmp_path, Path("logs"), tuple(sys.path)
    )
    worker = WorkerProcess.start(spec)
    assert worker.end is None
    assert worker.process.wait(timeout=60) == 2
    assert worker.end is not None
    assert not worker.end.lost
    assert worker.end.why.startswith("exit code 2: there is no storage")
    assert (tmp_path / "logs" / "worker-1.log").is_file()


SHADOWS = ("random", "json", "torch", "optuna", "typing")


def test_a_process_takes_no_module_from_its_folder(tmp_path: Path) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit('shadowed')\n")
    spec = WorkerSpec("1", "sqlite:///none.db", "one", "cpu", 1, tmp_path, Path("logs"), tuple(sys.path))
    worker = WorkerProcess.start(spec)
    assert worker.process.wait(timeout=120) == 2
    assert worker.end is not None
    assert worker.end.why.startswith("exit code 2: there is no storage")
    assert not (tmp_path / "ran").exists()


def test_a_process_finds_modules_where_its_parent_does(tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("open('ran', 'w')\nraise SystemExit(2)\n")
    # An interactive session looks in its working folder, which it calls "".
    spec = WorkerSpec("1", "sqlite:///none.db", "one", "cpu", 1, tmp_path, Path("logs"), ("", *sys.path))
    assert WorkerProcess.start(spec).process.wait(timeout=120) == 2
    assert (tmp_path / "ran").exists()


def test_a_process_runs_nothing_of_its_folder_before_it_begins(tmp_path: Path) -> None:
    for name in ("sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    # The folder is looked in once the user has named code, after all that is installed.
    paths = (*sys.path, str(tmp_path))
    spec = WorkerSpec("1", "sqlite:///none.db", "one", "cpu", 1, tmp_path, Path("logs"), paths)
    worker = WorkerProcess.start(spec)
    assert worker.process.wait(timeout=120) == 2
    assert worker.end is not None
    assert worker.end.why.startswith("exit code 2: there is no storage")
    assert not (tmp_path / "ran").exists()


def test_a_worker_is_given_the_code_that_the_user_named(tmp_path: Path) -> None:
    (tmp_path / "net.py").touch()
    config = load_config(None, {"model": "net.py:net", "mix": ["l2", "own.py:score"], "data": "digits"})
    assert worker_code(config, tmp_path) == (
        *("--model", f"{tmp_path}/net.py:net"),
        *("--mix", "l2", "--mix", "own.py:score"),
    )
    assert worker_code(load_config(None, {}), tmp_path) == ()


def test_a_process_that_is_stopped_is_lost(tmp_path: Path) -> None:
    spec = WorkerSpec(
        "1", str(tmp_path / "none.db"), "one", "cpu", 1, tmp_path, Path("logs"), tuple(sys.path)
    )
    worker = WorkerProcess.start(spec)
    stop_processes([worker], seconds=0)
    assert worker.end is not None
    assert worker.end.why.startswith("killed by SIG")
    assert worker.end.lost
