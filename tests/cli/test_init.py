from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.settings import load_config
from autoprune.utils.quantities import human_count

MODEL = """
import torch
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )

class Bottle(nn.Module):
    # A layer that cannot be cut does nearly all of the work.
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 1, 9, padding=4)
        self.narrow, self.last = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.narrow(self.wide(x)).mean((2, 3)))

def whole():
    return nn.Linear(300, 2)

def bottle():
    return Bottle()

def many():
    images = torch.randn(40, 3, 64, 64)
    split = (images, torch.arange(40) % 7)
    return {"train": split, "validation": split, "test": split}

def flat():
    split = (torch.randn(40, 300), torch.arange(40) % 2)
    return {"train": split, "validation": split, "test": split}

def data():
    split = (torch.randn(40, 3, 10, 10), torch.arange(40) % 2)
    return {"train": split, "validation": split, "test": split}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    made: dict[str, Any] = {}
    exec(MODEL, made)
    torch.save(made["net"]().state_dict(), tmp_path / "w.pt")
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
    assert "# What can be pruned: 2 groups" in text
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
    assert "; add your data to it, then run:" in init("--input", "1x3x10x10", "--weights", "w.pt")
    text = (folder / "study.toml").read_text()
    assert 'weights = "w.pt"' in text
    assert '# data = "imagefolder:photos"' in text


def test_a_file_that_is_there_is_not_replaced_unasked(folder: Path) -> None:
    (folder / "study.toml").write_text("mine")
    arguments = ["init", "--model", "net.py:net", "--input", "1x3x10x10"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "study.toml already exists: give --force to replace it" in result.stderr
    assert (folder / "study.toml").read_text() == "mine"
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert (folder / "study.toml").read_text().startswith("# A study of net.py:net.")


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("--data", "net.py:data", "--weights", "w.pt"), ""),
        (("--data", "net.py:data"), " --train-epochs 12"),
        (("--model", "net.py:bottle", "--data", "net.py:data"), " --train-epochs 12"),
        (("--input", "1x3x10x10"), ""),
    ],
)
def test_the_command_in_the_header_runs_as_it_stands(
    folder: Path, arguments: tuple[str, ...], flags: str
) -> None:
    printed = init(*arguments, "-o", "mine.toml").splitlines()[-1].strip()
    lines = (folder / "mine.toml").read_text().splitlines()
    assert lines[2] == f"#   {printed}" == f"#   autoprune search mine.toml{flags}"
    if "--data" not in arguments:
        assert lines[1].startswith("# Add your data and weights to it first.")
        return
    quick = ["--budget", "trials=1", "--finetune-steps", "1", "--no-latency", "--calibration-batches", "1"]
    result = CliRunner().invoke(app, [*shlex.split(lines[2])[2:], *quick])
    assert result.exit_code == 0, result.output


def test_a_file_name_with_a_space_is_quoted_in_the_header(folder: Path) -> None:
    assert init("--data", "net.py:data", "--weights", "w.pt", "-o", "my net.toml").endswith("'my net.toml'\n")


def test_the_model_is_that_of_the_classes_of_the_data(folder: Path) -> None:
    init("--model", "torchvision:squeezenet1_1", "--data", "net.py:many")
    # The last layer gives out 7 numbers instead of 1000.
    parameters = 1_235_496 - 513 * 1000 + 513 * 7
    assert f"{human_count(parameters)} parameters" in (folder / "study.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "net.py:data", "--weights", "none.pt"), "there is no weights file none.pt"),
        (("--data", "net.py:data", "--input", "1x3x8x8"), "the data determines the model"),
        (("--model", "net.py:whole", "--data", "net.py:flat"), "nothing in net.py:whole can be cut"),
        (("--data", "net.py:flat"), "does not run on inputs of shape"),
    ],
)
def test_no_file_is_written_that_could_not_be_run(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(app, ["init", "--model", "net.py:net", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert not (folder / "study.toml").exists()
