from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.settings import Config
from autoprune.cost import Profile
from autoprune.cost.latency.profile import save_profile
from autoprune.cost.latency.steps import LatencySteps
from autoprune.errors import ModelError
from autoprune.pruning_search import prepare
from autoprune.pruning_search.problem.width_grid import StepGrid
from autoprune.review import Listener
from autoprune.workflows.measure import measure

FACTORY = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )

def head():
    return nn.Linear(3, 4)

def two():
    return nn.Sequential(
        nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 4),
    )
"""
STATE = ("--format", "state")
FAST = {"latency_seconds": 0.01, "threads": 1}


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "factory.py").write_text(FACTORY)
    return f"{tmp_path}/factory.py:net"


def test_a_profile_is_measured_once_and_known_afterwards(factory: str, tmp_path: Path) -> None:
    config = Config(model=factory, **FAST)
    first = measure(config, ["2x3x8x8"], Listener())
    assert not first.known
    assert first.file.parent == tmp_path / "cache" / "latency"
    assert first.profile.latency_steps["0"].widths == (1, 2, 3, 4, 5, 6)
    again = measure(config, ["2x3x8x8"], Listener())
    assert again.known
    assert again.profile == first.profile
    assert not measure(config, ["2x3x8x8"], Listener(), again=True).known
    assert measure(config, ["1x3x8x8"], Listener()).file != first.file


def test_the_command_prints_a_table_or_json_and_draws(factory: str, tmp_path: Path) -> None:
    flags = [
        "measure",
        "--model",
        factory,
        "--input",
        "1x3x8x8",
        "--latency-seconds",
        "0.01",
        "--threads",
        "1",
    ]
    picture = tmp_path / "latency-steps.svg"
    shown = CliRunner().invoke(app, [*flags, "-o", str(picture)])
    assert shown.exit_code == 0, shown.output
    assert "efficient widths" in shown.output
    assert "saved to" in shown.output
    assert picture.read_text().count("<svg") == 1
    told = CliRunner().invoke(app, [*flags, "--json"])
    found = json.loads(told.stdout)
    assert [group["name"] for group in found["groups"]] == ["0"]
    assert found["device"]["inputs"] == "1x3x8x8 float32"
    assert found["original_ms"] > 0
    study = tmp_path / "study.toml"
    study.write_text(f'model = "{factory}"\nlatency-seconds = 0.01\nthreads = 1\n')
    same = CliRunner().invoke(app, ["measure", str(study), "--input", "1x3x8x8"])
    assert same.exit_code == 0 and "read from" in same.stdout, same.output
    bad = CliRunner().invoke(app, [*flags, "--again", "-o", str(tmp_path / "latency-steps.abc")])
    assert bad.exit_code == 2
    assert bad.stderr == f"error: cannot draw {tmp_path / 'latency-steps.abc'}: name a file .svg or .png\n"


def test_a_search_offers_the_widths_of_the_profile_and_nothing_to_cut_is_said(
    factory: str, tmp_path: Path
) -> None:
    settings = {"data": "digits", "latency_batch": 4, "only": ("blocks.0.*",), "train_epochs": 1, **FAST}
    config = Config(model="autoprune.tasks.zoo:digits_resnet", calibration_batches=1, **settings)
    found = measure(config, (), Listener())
    assert found.profile.fingerprint.inputs == "4x1x8x8 float32"
    file = json.loads(found.file.read_text())
    ((name, steps),) = file["latency_steps"].items()
    # On paper, time goes up in blocks of eight, whatever this machine is like.
    widths = list(range(1, 17))
    steps |= {"widths": widths, "ratios": [0.2 + 0.4 * math.ceil(w / 8) for w in widths], "error": 0.01}
    file["samples"] = []
    found.file.write_text(json.dumps(file))
    problem = prepare(config, Listener())
    again = measure(config, (), Listener())
    assert again.known
    assert {8, 16} <= set(again.offered[name])
    assert not {13, 14, 15} & set(again.offered[name])
    (told,) = again.as_dict()["groups"]
    assert tuple(told["edges"]) == again.offered[name] == problem.budget_model.latency_steps[name]
    assert problem.budget_model.grids[name] == StepGrid(tuple(w for w in again.offered[name] if w >= 2))
    with pytest.raises(ModelError, match=r"nothing in .*:head can be cut"):
        measure(Config(model=factory.replace(":net", ":head"), **FAST), ["1x3"], Listener())


def test_a_cut_to_a_budget_takes_the_widths_of_a_known_profile(factory: str, tmp_path: Path) -> None:
    model = factory.replace(":net", ":two")
    flags = ("--model", model, "--input", "1x3x8x8", "--threads", "1", *STATE, "-o", str(tmp_path))

    def cut(*more: str) -> tuple[dict[str, int], str]:
        made = CliRunner().invoke(app, ["apply", *flags, "--budget", "flops=50%", *more])
        assert made.exit_code == 0, made.output
        kept = json.loads((tmp_path / "plan.json").read_text())["keep"]
        return {"0": 24, "2": 32} | {name: len(units) for name, units in kept.items()}, made.stderr

    exact, said = cut()
    assert "--round-to" not in said
    measured = measure(Config(model=model, **FAST), ["1x3x8x8"], Listener())
    save_profile(on_paper(measured.profile), measured.file)
    aligned, said = cut()
    assert "give --round-to 1 for any width" in said
    assert any(width % 8 for width in exact.values())
    assert not any(width % 8 for width in aligned.values())
    assert cut("--round-to", "1")[0] == exact


def on_paper(profile: Profile) -> Profile:
    """That of a device that fills blocks of eight channels, whatever was measured."""

    def steps(full: int) -> LatencySteps:
        widths = tuple(range(1, full + 1))
        return LatencySteps(widths, tuple(math.ceil(width / 8) * 8 / full for width in widths), 0.0)

    return replace(profile, latency_steps={"0": steps(24), "2": steps(32)}, samples=())
