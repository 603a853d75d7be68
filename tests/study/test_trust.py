"""User code runs when the user names it, and not because a study or a plan does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

from autoprune.api import open_study
from autoprune.cli import app
from autoprune.config.commands import command_line
from autoprune.config.references import references_in
from autoprune.config.settings import NAMES_CODE
from autoprune.errors import TrustError
from autoprune.structure.masks import LayerMask, MaskPlan
from autoprune.study.trust import code_words, require_trust, user_code
from autoprune.tasks import digits_resnet

PROJECT = """
from pathlib import Path
from autoprune.tasks import digits_resnet, load_data


def model():
    Path("ran").touch()
    return digits_resnet()


def data():
    Path("ran").touch()
    return load_data("digits")


def score(context):
    Path("ran").touch()
    return {}
"""
QUICK = ("--finetune-steps", "2", "--no-latency", "--calibration-batches", "1", "--quiet")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "net.py").write_text(PROJECT)
    torch.manual_seed(0)
    safetensors.torch.save_file(digits_resnet().state_dict(), tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path


@pytest.fixture
def searched(folder: Path) -> Path:
    """A folder with a study that names user code, which has not run since."""
    given = ("--model", "net.py:model", "--data", "net.py:data", "--weights", "w.safetensors")
    done = call("search", *given, *QUICK, "--budget", "flops=50%,trials=2", "--study", "own")
    assert done.exit_code == 0, done.output
    assert "export --best --study own --model net.py:model --data net.py:data -o out/" in done.stdout
    (folder / "ran").unlink()
    return folder


def test_what_counts_as_user_code() -> None:
    settings = {
        "model": "package.module:net",
        "data": "path/file.py:data",
        "metric": "path/file.py:Metric@gaussian:0.1",
        "objective": ["f1@salt-and-pepper:0.05", "package.module:Metric", "accuracy"],
        "criterion": "path/file.py:score/flops^0.5/latency",
        "mix": ["l2", "other.py:score", "taylor/params"],
        "runtime": "command:python time.py {file}",
        "weights": "w.safetensors",
    }
    assert user_code(settings) == {
        "model": ["package.module:net"],
        "data": ["path/file.py:data"],
        "metric": ["path/file.py:Metric@gaussian:0.1"],
        "objective": ["package.module:Metric"],
        "criterion": ["path/file.py:score/flops^0.5/latency"],
        "mix": ["other.py:score"],
        "runtime": ["command:python time.py {file}"],
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "torchvision:resnet18", "data": "imagefolder:photos", "criterion": "group-norm:p=1"},
        {"model": "autoprune.tasks.zoo:resnet20", "data": "fashion-mnist:folder", "runtime": "onnxruntime"},
        {"model": None, "data": 3, "mix": [1], "criterion": "l2/flops^x"},
    ],
    ids=str,
)
def test_what_does_not(settings: dict[str, object]) -> None:
    assert user_code(settings) == {}
    require_trust(references_in(settings), {}, trust=False, source="the study")


def test_all_of_it_has_to_be_named_or_trusted() -> None:
    settings = {"model": "a b.py:net", "mix": ["one.py:score", "two.py:score"]}
    flags = " --model 'a b.py:net' --mix one.py:score --mix two.py:score"
    assert command_line(*code_words(settings)) == flags.strip()
    for given in ({}, {"model": "a b.py:net"}, {"mix": ["one.py:score"], "model": None}):
        with pytest.raises(TrustError, match=r"names user code .* or --trust"):
            require_trust(references_in(settings), given, trust=False, source="the study")
    require_trust(
        references_in(settings),
        {"model": "b.py:net", "mix": ["one.py:score"]},
        trust=False,
        source="the study",
    )
    require_trust(references_in(settings), {}, trust=True, source="the study")


def test_reviewing_a_study_runs_nothing_that_it_names(searched: Path) -> None:
    for command in (("front",), ("front", "--json"), ("report",), ("pick", "0"), ("pick",)):
        shown = call(*command)
        assert shown.exit_code == 0, shown.output
    assert not (searched / "ran").exists()
    report = (searched / "report.html").read_text()
    assert "autoprune export --best --study own --model net.py:model --data net.py:data -o best/" in report


def test_export_runs_what_the_user_names(searched: Path) -> None:
    refused = call("export", "--format", "state")
    assert refused.exit_code == 2
    assert "study 'own' names user code (model 'net.py:model', data 'net.py:data')" in refused.stderr
    assert "add --model net.py:model --data net.py:data, or --trust" in refused.stderr
    assert not (searched / "ran").exists()
    assert not (searched / "out").exists()
    named = call("export", "--format", "state", "--model", "net.py:model", "--data", "net.py:data")
    assert named.exit_code == 0, named.output
    assert (searched / "ran").exists()
    trusted = call("export", "--format", "state", "--trust", "-o", "again")
    assert trusted.exit_code == 0, trusted.output
    weights = [(searched / to / "model.safetensors").read_bytes() for to in ("out", "again")]
    assert weights[0] == weights[1]


def test_a_program_that_a_study_names_is_not_started(searched: Path) -> None:
    study = optuna.load_study(study_name="own", storage="sqlite:///autoprune.db")
    record = study.user_attrs["autoprune"]
    record["config"] |= {"model": None, "data": "digits", "runtime": "command:touch ran", "latency": True}
    study.set_user_attr("autoprune", record)
    refused = call("export")
    assert refused.exit_code == 2
    assert "names user code (runtime 'command:touch ran')" in refused.stderr
    assert not (searched / "ran").exists()


FORMS = {
    "model": ("net.py:model", "autoprune.tasks.zoo:x/net.py:model", "net:model"),
    "data": ("net.py:data", "autoprune.tasks.zoo:x/net.py:data", "net:data"),
    "metric": ("net.py:model", "x@y/net.py:model", "net.py:model@gaussian:0.1"),
    "objective": (["net.py:model@gaussian:1"], ["accuracy@gaussian:1", "x@y/net.py:model"]),
    "criterion": (
        "net.py:score",
        "net.py:score/flops/params/size^2",
        "autoprune.tasks.zoo:x/net.py:score/flops",
    ),
    "mix": (["net.py:score"], ["l2", "net.py:score/flops/params"]),
    "runtime": ("command:touch ran", "command: touch ran"),
}


@pytest.fixture
def plain(folder: Path) -> Path:
    """A folder with a study that names no user code, and such code wherever a crafted name looks for it."""
    done = call(
        "search", "--weights", "w.safetensors", *QUICK, "--budget", "flops=50%,trials=1", "--study", "p"
    )
    assert done.exit_code == 0, done.output
    for place in ("autoprune.tasks.zoo:x", "x@y"):
        (folder / place).mkdir()
        (folder / place / "net.py").write_text(PROJECT)
    return folder


def test_no_setting_of_a_study_runs_code_in_any_form(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(plain))
    assert set(FORMS) == set(NAMES_CODE)
    study = optuna.load_study(study_name="p", storage="sqlite:///autoprune.db")
    record = study.user_attrs["autoprune"]
    for name, values in FORMS.items():
        for value in values:
            study.set_user_attr("autoprune", {**record, "config": {**record["config"], name: value}})
            for command in ("export", "worker"):
                refused = call(command, "--study", "p")
                assert refused.exit_code == 2, (name, value)
                assert f"names user code ({name} " in refused.stderr
            study.set_user_attr("autoprune", {**record, "places": {name: value}})
            assert f"names user code ({name} " in call("worker", "--study", "p").stderr
    assert not (plain / "ran").exists()


def test_a_criterion_file_runs_no_code(plain: Path) -> None:
    learned = open_study("sqlite:///autoprune.db", "p").criterion(0)
    apply = (
        "apply",
        "--model",
        "autoprune.tasks.zoo:digits_resnet",
        "--input",
        "1x1x8x8",
        "--sparsity",
        "0.5",
    )
    for prices in ("", "/flops", "/flops/params", "/flops/params/size^0.5/flops"):
        document = json.loads(learned.to_json())
        for group in document["groups"].values():
            group["weights"] = {f"net.py:score{prices}": 1.0}
        (plain / "c.json").write_text(json.dumps(document))
        refused = call(*apply, "--criterion", "c.json")
        assert refused.exit_code == 2
        assert "c.json asks for code of its own: if you trust it, give --mix net.py:score" in refused.stderr
    study = optuna.load_study(study_name="p", storage="sqlite:///autoprune.db")
    record = study.user_attrs["autoprune"]
    study.set_user_attr("autoprune", {**record, "config": {**record["config"], "criterion": "c.json/flops"}})
    assert "asks for code of its own" in call("export", "--study", "p").stderr
    assert not (plain / "ran").exists()


def test_a_flag_names_all_that_its_setting_had() -> None:
    assert code_words({"mix": ["l2", "net.py:score"]}) == ("--mix", "l2", "--mix", "net.py:score")


def test_a_plan_does_not_choose_the_code_that_ranks(folder: Path) -> None:
    plan = MaskPlan("2:4", {"fc": LayerMask(2, "0" * 64)}, "net.py:score")
    (folder / "plan.json").write_text(plan.to_json())
    apply = ("apply", "--data", "digits", "--weights", "w.safetensors", "--plan", "plan.json")
    refused = call(*apply)
    assert refused.exit_code == 2
    assert "net.py:score" in refused.stderr.splitlines()[-1]
    assert not (folder / "ran").exists()
