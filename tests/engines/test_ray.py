"""Workers on a Ray cluster of several nodes, all of them on this machine, some of which are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

import autoprune
from autoprune.errors import StudyError
from autoprune.pruning_search.coordination import heartbeat
from autoprune.pruning_search.coordination.budget_usage import counts
from autoprune.review import open_study

pytest.importorskip("ray", reason="the extra ray is not installed")
from ray.cluster_utils import Cluster

PROJECT = Path(autoprune.__file__).parents[1]
NET = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(12, 16, 3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(16, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10),
    )
"""
QUICK = ("--finetune-steps", "10", "--no-latency", "--calibration-batches", "2", "--sampler", "random")
STORAGE = "studies.db"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes of one CPU each, one of which is the head."""
    # The names of its sockets have to be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    given = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model in a file of the user's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture
def search(cluster: Cluster, folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the search on the cluster; what it says is in the files ``out`` and ``err``."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "autoprune",
            "search",
            "--model",
            "net.py:net",
            "--train-epochs",
            "1",
            *QUICK,
        ]
        command += ["--engine", "ray", "--address", cluster.address, "--storage", STORAGE, "--study", "one"]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        with Path("out").open("w") as out, Path("err").open("w") as err:
            begun.append(
                subprocess.Popen([*command, *arguments], env=environment, stdout=out, stderr=err, text=True)
            )
        return begun[0]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def trials() -> list[FrozenTrial]:
    try:
        return open_study(STORAGE, "one").trials
    except StudyError:
        return []


def worker_pids() -> set[int]:
    """The processes that have evaluated a trial."""
    return {trial.user_attrs["process"]["pid"] for trial in trials() if trial.values}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, Path("err").read_text()
        assert time.monotonic() < until, "it did not happen in time:\n" + Path("err").read_text()
        time.sleep(0.2)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def lose_a_node(cluster: Cluster) -> int | None:
    """Kill all processes of a node that runs a trial; returns the trial, None where no node runs one now."""
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    for trial in trials():
        if trial.state is not TrialState.RUNNING or "process" not in trial.user_attrs:
            continue
        worker = trial.user_attrs["process"]["pid"]
        actor = parent(worker)
        node = raylets.get(parent(actor))
        if node is None:
            continue
        os.kill(worker, signal.SIGSTOP)
        if trials()[trial.number].state is not TrialState.RUNNING:
            os.kill(worker, signal.SIGCONT)
            continue
        cluster.remove_node(node, allow_graceful=False)
        for pid in (actor, worker):
            os.kill(pid, signal.SIGKILL)
        return trial.number
    return None


def test_a_lost_node_loses_nothing(search: Callable[..., subprocess.Popen[str]], cluster: Cluster) -> None:
    total = 24
    process = search("--workers", "2", "--budget", f"flops=60%,trials={total}")
    lost: list[int | None] = []
    wait_for(lambda: lost.append(lose_a_node(cluster)) or lost[-1] is not None, process)
    assert process.wait(timeout=200) == 0, Path("err").read_text()

    study = open_study(STORAGE, "one")
    assert Counter(trial.state for trial in study.trials)[TrialState.RUNNING] == 0
    assert sum(map(counts, study.trials)) == total
    plans = [t.user_attrs["plan"] for t in study.trials if t.values and "duplicate_of" not in t.user_attrs]
    assert len(set(plans)) == len(plans)
    assert study.trials[lost[-1]].user_attrs["reason"] == "its process died"
    (again,) = [trial for trial in study.trials if trial.user_attrs.get("retry_of") == lost[-1]]
    assert again.state is TrialState.COMPLETE
    said = Path("err").read_text()
    assert "2 workers of 1 CPU(s) each on Ray" in said
    assert "(its node or its actor was lost): it is started again where there is room" in said
    assert said.count(" runs on ") == 3
    assert f"{total}/{total}" in said


def told() -> list[str]:
    """The events that the search has written in whole lines."""
    lines = Path("out").read_text().splitlines(keepends=True)
    return [json.loads(line)["event"] for line in lines if line.endswith("\n")]


def test_sigterm_stops_all_workers_and_leaves_programs_their_lines(
    search: Callable[..., subprocess.Popen[str]],
) -> None:
    process = search("--workers", "2", "--json", "--budget", "flops=60%,trials=100000")
    # What workers say comes a little later: the command that is stopped does not wait for it.
    wait_for(lambda: bool(worker_pids()) and "trial" in told(), process)
    workers = worker_pids()
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM, Path("err").read_text()
    # Five seconds, and what a loaded machine takes longer for the end of Python itself.
    assert time.monotonic() - asked < 5 + 10
    assert not any(heartbeat._born(pid) is not None for pid in workers)
    assert not [trial for trial in trials() if trial.state is TrialState.RUNNING]
    assert {"trial_started", "trial", "note"} <= set(told())
