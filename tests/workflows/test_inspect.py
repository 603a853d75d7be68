import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.cli.options import MODEL_SETTINGS
from autoprune.config.settings import load_config
from autoprune.errors import ConfigError
from autoprune.review import Listener, groups_table
from autoprune.workflows.inspect import inspect

MODEL = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    file = tmp_path / "net.py"
    file.write_text(MODEL)
    return f"{file}:net"


def test_the_share_of_a_group_is_what_is_gone_without_it(model: str) -> None:
    config = load_config(None, {"model": model, "latency": False})
    found = inspect(config, ["1x3x10x10"], Listener()).as_dict()
    # Per image: 216 + 32 multiply-adds a pixel, 16 for BatchNorm, 4 for pooling; 8 in the linear layer.
    assert found["flops"] == 100 * (216 + 16 + 32 + 4) + 8
    first, second = found["groups"]
    assert first["name"] == "0"
    assert first["layers"] == ["0", "1"]
    assert first["read_by"] == ["3"]
    assert first["flops_share"] == pytest.approx(100 * (216 + 16 + 32) / found["flops"], abs=1e-5)
    assert first["parameters_share"] == pytest.approx((216 + 16 + 32) / found["parameters"], abs=1e-5)
    assert second["flops_share"] == pytest.approx((100 * (32 + 4) + 8) / found["flops"], abs=1e-5)
    assert found["frozen"] == {"6": "reaches the model's output"}


def test_latency_of_each_group_is_measured(model: str) -> None:
    config = load_config(None, {"model": model, "latency_seconds": 0.05})
    found = inspect(config, ["1x3x64x64"], Listener())
    assert set(found.latency) == {"0", "3"}
    assert all(share.low <= share.share <= share.high < 1 for share in found.latency.values())


def test_a_model_of_unknown_input_needs_one(model: str) -> None:
    with pytest.raises(ConfigError, match="Give --input 1x3x224x224, or --data"):
        inspect(load_config(None, {"model": model}), [], Listener())


def test_the_command_prints_a_table_or_json(model: str) -> None:
    command = ["inspect", "--model", model, "--input", "1x3x10x10", "--no-latency"]
    table = CliRunner().invoke(app, command)
    assert table.exit_code == 0, table.output
    assert "2 groups, 1 frozen" in table.stdout
    assert "reaches the model's output" in table.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json", "--skip", "0"]).stdout)
    assert [group["name"] for group in found["groups"]] == ["3"]
    assert found["frozen"]["0"] == "kept by skip=0"


def test_a_study_file_names_the_model_and_what_stays(model: str, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(f'model = "{model}"\nskip = ["0"]\nlatency = false\nbudget = ["flops=50%"]\n')
    done = CliRunner().invoke(app, ["inspect", str(study), "--input", "1x3x10x10", "--json"])
    assert done.exit_code == 0, done.output
    assert [group["name"] for group in json.loads(done.stdout)["groups"]] == ["3"]


def test_a_model_of_torchvision_is_shown_an_image() -> None:
    config = load_config(None, {"model": "torchvision:squeezenet1_1", "latency": False})
    found = inspect(config, [], Listener())
    assert isinstance(found.structure.groups, tuple)
    assert found.costs.parameters == sum(p.numel() for p in _squeezenet().parameters())


def test_weights_are_loaded_as_a_search_does(model: str, tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "narrow.pt")
    command = ["inspect", "--model", model, "--input", "1x3x10x10", "--no-latency", "--weights"]
    wrong = CliRunner().invoke(app, [*command, str(tmp_path / "narrow.pt")])
    assert wrong.exit_code == 2
    assert "[4, 3, 3, 3]" in wrong.stderr.splitlines()[-1]


def test_every_command_that_is_given_a_model_takes_the_same_flags_for_it() -> None:
    group = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    taken = {name: {parameter.name for parameter in command.params} for name, command in commands.items()}
    with_model = {name for name, flags in taken.items() if flags & set(MODEL_SETTINGS)}
    assert with_model == {"apply", "export", "init", "inspect", "measure", "search", "worker"}
    assert all(taken[name] >= set(MODEL_SETTINGS) for name in with_model)


def test_a_study_file_may_be_no_model(model: str) -> None:
    done = CliRunner().invoke(app, ["inspect", model])
    assert done.stderr.splitlines()[-1].endswith(f"is not a study file: name a model with --model {model}")


def test_the_table_tells_noise_from_a_width_that_is_slower() -> None:
    def group(name: str, *shares: float) -> dict[str, Any]:
        ends = dict(zip(("latency_share", "latency_share_low", "latency_share_high"), shares, strict=True))
        known = {"name": name, "kind": "channels", "width": 8, "flops_share": 0.5, "parameters_share": 0.5}
        return {**known, **ends, "layers": [name], "read_by": []}

    groups = [group("a", 0.2, 0.15, 0.25), group("b", -0.02, -0.05, 0.01), group("c", -0.06, -0.08, -0.04)]
    found = {"model": "net", "flops": 10, "parameters": 10, "size": 10, "groups": groups, "frozen": {}}
    console = Console(file=io.StringIO(), width=120)
    console.print(groups_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "20% (15% to 25%)" in text
    assert "noise, ±5.0%" in text
    assert "-6.0%, slower" in text
    assert "noise: with one unit of the group left, latency is the same within the 95 % interval" in text
    assert "slower: this runtime takes longer with one unit of the group left than with all" in text


def _squeezenet() -> nn.Module:
    from torchvision.models import squeezenet1_1

    return squeezenet1_1()
