from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config import load_config

MODEL = """
import torch
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )

def data():
    split = (torch.randn(40, 3, 10, 10), torch.arange(40) % 2)
    return {"train": split, "validation": split, "test": split}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    return tmp_path


def init(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["init", "--model", "net.py:net", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_study_file_is_written_for_model_and_data(folder: Path) -> None:
    written = init("--data", "net.py:data", "--weights", "w.pt")
    assert written == "wrote study.toml; next:\n  autoprune search study.toml\n"
    text = (folder / "study.toml").read_text()
    config = load_config(folder / "study.toml", {})
    assert config.budget == ("flops=50%", "time=30m")
    assert "40 train, 40 validation, 40 test samples of shape 3x10x10; judged by accuracy" in text
    assert "# What can be cut: 2 groups" in text
    assert "    8 channels, " in text
    assert "# frozen: 6: reaches the model's output" in text
    assert "finetune-steps = 50" in text
    assert all(line == line.rstrip() and len(line) <= 120 for line in text.splitlines())


def test_what_the_comments_suggest_can_be_used(folder: Path) -> None:
    init("--data", "net.py:data", "-o", "small.toml")
    lines = (folder / "small.toml").read_text().splitlines()
    settings = [line for line in lines if re.match(r"(# )?[\w-]+ = ", line)]
    uncommented = "\n".join(line.removeprefix("# ") for line in settings)
    (folder / "all.toml").write_text(uncommented)
    config = load_config(folder / "all.toml", {})
    assert config.skip == ("0",)
    assert config.bounds == ("0=25%..100%",)
    assert config.depth


def test_who_has_no_weights_gets_a_command_that_trains_first(folder: Path) -> None:
    written = init("--data", "net.py:data")
    assert "it names no trained weights" in written
    arguments = shlex.split(written.splitlines()[-1])[1:]
    quick = ["--budget", "flops=80%,trials=1", "--finetune-steps", "1", "--no-latency"]
    result = CliRunner().invoke(app, [*arguments, *quick])
    assert result.exit_code == 0, result.output


def test_the_models_of_data_sets_train_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["init", "--data", "digits"])
    assert result.stdout == "wrote study.toml; next:\n  autoprune search study.toml\n"


def test_without_data_an_input_says_what_the_model_takes(folder: Path) -> None:
    assert "; write your data into it, then:" in init("--input", "1x3x10x10", "--weights", "w.pt")
    text = (folder / "study.toml").read_text()
    assert 'weights = "w.pt"' in text
    assert '# data = "imagefolder:photos"' in text


def test_a_file_that_is_there_is_not_replaced_unasked(folder: Path) -> None:
    (folder / "study.toml").write_text("mine")
    arguments = ["init", "--model", "net.py:net", "--input", "1x3x10x10"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "study.toml is there already: give --force to replace it" in result.stderr
    assert (folder / "study.toml").read_text() == "mine"
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert (folder / "study.toml").read_text().startswith("# A study of net.py:net.")
