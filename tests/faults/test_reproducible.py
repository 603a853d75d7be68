"""One seed and one process give one result, and a plan with its seed gives the weights again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faulty import NAME, PROJECT, environment, search_command, study_in
from optuna.trial import FrozenTrial
from safetensors.torch import load_file

TRIALS = 22


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> list[Path]:
    """Two folders in which the same command was run."""
    folders = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("run")
        (folder / "net.py").write_text(PROJECT)
        (folder / "w.safetensors").write_bytes(trained.read_bytes())
        run(search_command("--finetune-steps", "1", trials=TRIALS), folder)
        folders.append(folder)
    return folders


def result(trial: FrozenTrial) -> dict[str, Any]:
    told = {
        key: trial.user_attrs.get(key) for key in ("plan", "widths", "origin", "loss", "recovered_weights")
    }
    return {**told, "params": trial.params, "values": trial.values, "state": trial.state}


def test_the_same_command_gives_the_same_trials_twice(twice: list[Path]) -> None:
    first, second = ([result(trial) for trial in study_in(folder).trials] for folder in twice)
    assert first == second
    assert any(trial["origin"] == "sampler" and trial["recovered_weights"] for trial in first)


def test_the_study_says_what_it_was_made_with(twice: list[Path]) -> None:
    record = study_in(twice[0]).user_attrs["autoprune"]
    assert record["config"]["seed"] == 0
    assert {"autoprune", "torch", "optuna", "python"} <= set(record["versions"])
    assert len(record["weights"]) == 64
    assert record["data"]
    assert record == {**study_in(twice[1]).user_attrs["autoprune"], "places": record["places"]}


def test_export_makes_lost_weights_again(twice: list[Path]) -> None:
    folder = twice[0]
    study = study_in(folder)
    best = max(study.best_trials, key=lambda trial: trial.values[0])
    command = [sys.executable, "-m", "autoprune", "export", "--study", NAME, "--trial", str(best.number)]
    command += ["--trust", "--format", "state", "-o"]
    run([*command, "kept"], folder)
    shutil.rmtree(folder / "autoprune_artifacts")
    run([*command, "again"], folder)
    kept, again = (load_file(folder / to / "model.safetensors") for to in ("kept", "again"))
    assert kept.keys() == again.keys()
    assert all(kept[name].equal(again[name]) for name in kept)
    assert (folder / "kept" / "plan.json").read_text() == (folder / "again" / "plan.json").read_text()
