"""Every message that the troubleshooting page names is met here as a user meets it."""

from __future__ import annotations

import math
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from typer.testing import CliRunner

import autoprune
from autoprune.cli import app
from autoprune.cost.latency.timing_lock import timing_lock, timing_lock_path
from autoprune.errors import AutopruneError
from autoprune.export.formats.onnx import write_onnx
from autoprune.export.parity import largest_difference
from autoprune.export.subject import subject_of
from autoprune.study.listener import Listener
from autoprune.tasks import digits_resnet

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
ROW = re.compile(r"^\| `(?P<message>[^`]+)`(?P<more>[^|]*)\|", re.MULTILINE)
QUICK = ("--finetune-steps", "2", "--no-latency", "--calibration-batches", "2")
ZOO = "autoprune.tasks.zoo:digits_resnet"
NETS = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))

def single():
    return nn.Linear(20, 2)

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(20, 2)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else 2 * self.linear(x)

class Bessel(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(20, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.special.bessel_j0(self.first(x)))

def wide():
    split = (torch.randn(64, 3, 8, 8), torch.arange(64) % 10)
    return {"train": split, "validation": split, "test": split}

def few():
    split = (torch.randn(64, 20), torch.arange(64) % 2)
    return {"train": split, "validation": split, "test": split}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks, weights, and a study of two trials."""
    made = tmp_path_factory.mktemp("user")
    (made / "net.py").write_text(NETS)
    for name, seed in (("digits", 0), ("others", 1)):
        torch.manual_seed(seed)
        safetensors.torch.save_file(digits_resnet().state_dict(), made / f"{name}.safetensors")
    safetensors.torch.save_file({"stem.0.weight": torch.zeros(4, 1, 3, 3)}, made / "narrow.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        assert "Next:" in search("--study", "known")
    return made


def call(*arguments: str) -> str:
    """All that a command prints, in one line."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def search(*arguments: str) -> str:
    given = () if {"--weights", "--model"} & set(arguments) else ("--weights", "digits.safetensors")
    budget = () if "--budget" in arguments else ("--budget", "flops=50%,trials=2")
    return call("search", *given, *QUICK, *budget, *arguments)


def weights(content: object) -> str:
    torch.save(content, "given.pt")
    return search("--weights", "given.pt")


def inspect(model: str, *arguments: str) -> str:
    return call("inspect", "--model", f"net.py:{model}", "--no-latency", *arguments)


def raised(function: Callable[[], object]) -> str:
    """The text of the error of ours that a function raises."""
    with pytest.raises(AutopruneError) as caught:
        function()
    return str(caught.value)


def exhausted() -> str:
    space = ("--min-density", "0.97", "--budget", "flops=98%,trials=200", "--sampler", "random")
    return search("--study", "small", *space)


def empty_storage() -> str:
    optuna.storages.RDBStorage("sqlite:///empty.db")
    return call("front", "--storage", "sqlite:///empty.db")


def newer_optuna() -> str:
    with copied("newer.db") as copy:
        copy.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    return call("front", "--storage", "newer.db")


def storage_in_a_circle() -> str:
    Path("circle.db").symlink_to("circle.db")
    return search("--storage", "circle.db")


def missing_extra() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        return call("export", "--format", "onnx", "--study", "known", "--weights", "digits.safetensors")


def kept_lock() -> str:
    def measure() -> None:
        with timing_lock(wait_seconds=0.1):
            raise AssertionError("it was free")

    with tempfile.TemporaryDirectory() as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", own)
        with FileLock(timing_lock_path()):
            return raised(measure)


def another_result() -> str:
    expected = {"0": torch.ones(2)}
    return raised(lambda: largest_difference("model.onnx", expected, {"0": torch.zeros(2)}, 1e-4))


def no_onnx_form() -> str:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, proj_size=3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    return raised(lambda: write_onnx(subject_of(Projected(), torch.randn(2, 5, 4)), Path("model.onnx")))


def made_in_python() -> str:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
    split = (torch.randn(64, 20), torch.arange(64) % 2)
    data = {"train": split, "validation": split, "test": split}
    settings = {"finetune_steps": 1, "latency": False, "calibration_batches": 1}
    autoprune.search(
        model, data, budget="flops=80%", trials=1, name="python", storage="sqlite:///python.db", **settings
    )
    return call("export", "--storage", "sqlite:///python.db")


def copied(to: str) -> sqlite3.Connection:
    """A copy of the storage."""
    copy = sqlite3.connect(to)
    with sqlite3.connect("autoprune.db") as source:
        source.backup(copy)
    return copy


def changed_by_hand() -> str:
    with copied("changed.db") as copy:
        copy.execute("UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'flops_ratio'")
    return call("front", "--study", "known", "--storage", "sqlite:///changed.db")


def linked_folder() -> str:
    Path("linked").mkdir()
    Path("linked/autoprune_artifacts").symlink_to(Path.cwd())
    copied("linked/study.db").close()
    return call("dashboard", "--port", "0", "--storage", "sqlite:///linked/study.db")


def replaced() -> str:
    Path("study.toml").write_text('data = "digits"\nbudget = ["flops=0.1%", "time=30m"]\n')
    return search("study.toml", "--budget", "flops=0.2%")


class Told(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Deleting(Told):
    """Deletes the storage once a trial is running."""

    def trial_started(self, *_: object) -> None:
        Path("lost.db").unlink(missing_ok=True)


def lost_storage() -> str:
    return given(storage="lost.db", listener=Deleting())


class Drawn(Dataset[tuple[Tensor, int]]):
    """Other inputs each time."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(20), index % 2


class Broken(Drawn):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise OSError("no such disk")


class Noisy(nn.Module):
    """Drops inputs in evaluation, too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(nn.functional.dropout(x, 0.5, training=True))  # type: ignore[no-any-return]


def classifier(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 8), *layers, nn.ReLU(), nn.Linear(8, 2))


def given(
    model: nn.Module | None = None,
    *,
    budget: str = "trials=1",
    storage: str | None = None,
    listener: Told | None = None,
    **data: Any,
) -> str:
    """The error that a model with data gives in Python, or the notes of its search."""
    split = (torch.randn(32, 20, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2)
    told = listener or Told()
    settings = {"finetune_steps": 1, "latency": False, "calibration_batches": 1, "preview": "never"}
    try:
        autoprune.search(
            model or classifier(),
            {"train": split, "validation": split, "test": split} | data,
            budget=f"flops=80%,{budget}",
            storage=storage or f"sqlite:///{tempfile.mkdtemp()}/given.db",
            listener=told,
            **settings,
        )
    except AutopruneError as error:
        return str(error)
    return " ".join(told.notes)


def changed(change: Callable[[Tensor, Tensor], object]) -> tuple[Tensor, Tensor]:
    """A split of which a part is changed in place."""
    inputs, targets = torch.randn(32, 20), torch.arange(32) % 2
    change(inputs, targets)
    return inputs, targets


def spoiled() -> nn.Module:
    model = classifier()
    torch.nn.init.constant_(model.get_parameter("0.bias"), math.nan)
    return model


def other_threads() -> str:
    before = torch.get_num_threads()
    try:
        return search("--study", "known", "--threads", str(before + 1), "--budget", "flops=50%,trials=3")
    finally:
        torch.set_num_threads(before)


@cache
def failed() -> str:
    return search("--study", "failed", "--lr", "1e30")


FROM = {
    "has no weights: give --weights FILE, or --train-epochs N": lambda: search(
        "--model", "torchvision:alexnet", "--data", "digits"
    ),
    "no data for ...: give --data": lambda: search("--model", "torchvision:alexnet"),
    "is not a study file: name a model with --model": lambda: call("inspect", "net.py:plain"),
    "torch.export cannot follow": lambda: inspect("Branching", "--input", "1x20"),
    "cannot take inputs of shape": lambda: search(
        "--model", ZOO, "--weights", "digits.safetensors", "--data", "net.py:wide"
    ),
    "what does ... take? Give --input": lambda: inspect("plain"),
    "is [4, 1, 3, 3] instead of [16, 1, 3, 3]": lambda: search("--weights", "narrow.safetensors"),
    "is missing and ... is unknown": lambda: weights(
        {f"encoder.{name}": tensor for name, tensor in digits_resnet().state_dict().items()}
    ),
    "name the entry, as ...:ema": lambda: weights({"ema": digits_resnet().state_dict()}),
    "holds more than weights": lambda: weights(nn.Linear(2, 2)),
    "did you mean": lambda: search("--data", "digit"),
    "reading the data failed": lambda: given(train=Broken(), classes=2),
    "yields no batch": lambda: given(test=DataLoader(Drawn(), 64, drop_last=True)),
    "a target is ..., but the model's classes are": lambda: given(
        validation=changed(lambda _, targets: targets[3].fill_(7))
    ),
    "give targets.long()": lambda: given(train=(torch.randn(32, 20), torch.ones(32))),
    "of which the model makes no finite number": lambda: given(
        train=changed(lambda inputs, _: inputs[3].fill_(math.nan))
    ),
    "convert one of them": lambda: given(classifier().double()),
    "is not finite: its ... holds": lambda: given(spoiled()),
    "fine-tuning cannot work": lambda: given(classifier().requires_grad_(False)),
    "BatchNorm cannot train on one sample": lambda: given(
        classifier(nn.BatchNorm1d(8)), train=DataLoader(Drawn(), 1)
    ),
    "of the original is nan": lambda: given(
        metric="auroc", validation=(torch.randn(32, 20), torch.zeros(32, dtype=torch.int64))
    ),
    "validation samples change each time they are read": lambda: given(validation=Drawn()),
    "two passes of the original ... give": lambda: given(Noisy(classifier())),
    "time is short: sensitivity": lambda: given(budget="time=0.1s"),
    "trials so far were computed with": other_threads,
    "reaches the model's output": lambda: inspect("plain", "--input", "1x20"),
    "has no rule": lambda: inspect("Bessel", "--input", "1x20"),
    "nothing in ... can be cut": lambda: search(
        "--model", "net.py:single", "--data", "net.py:few", "--train-epochs", "1"
    ),
    "the budget ... replaces": replaced,
    "no plan meets": lambda: search("--budget", "flops=0.1%"),
    "no trial gave a model within the budget": failed,
    "a latency budget needs latency to be measured": lambda: search("--budget", "latency=50%"),
    "masks leave flops as it is": lambda: search("--granularity", "weights"),
    "lower --lr": failed,
    "was made with other settings": lambda: search("--study", "known", "--seed", "9"),
    "continues study": lambda: search("--study", "known"),
    "the last 40 suggestions were plans that are known already": exhausted,
    "make the folder ... first": lambda: search("--storage", "sqlite:///missing/study.db"),
    "the study was saved to ...: go on with --storage": lost_storage,
    "was made by a newer version of Optuna": newer_optuna,
    "Too many levels of symbolic links": storage_in_a_circle,
    "holds no study of autoprune": empty_storage,
    "is not installed: pip install 'autoprune[onnx]'": missing_extra,
    "other processes have held ... for": kept_lock,
    "differs from the pruned model": another_result,
    "leave out the onnx format": no_onnx_form,
    "are not those that study ... pruned": lambda: call(
        "export", "--study", "known", "--weights", "others.safetensors"
    ),
    "was made in Python from a": made_in_python,
    "left out because they cannot be read": changed_by_hand,
    "is a link, which may lead anywhere": linked_folder,
}
"""Each message of the page, and what gives it."""


def test_every_message_of_the_page_has_a_case_here() -> None:
    assert sorted(row["message"] for row in ROW.finditer(PAGE.read_text())) == sorted(FROM)


@pytest.mark.parametrize("message", FROM)
def test_the_message_is_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    monkeypatch.chdir(folder)
    pattern = ".+".join(map(re.escape, message.split("...")))
    said = FROM[message]()
    assert re.search(pattern, said), said
