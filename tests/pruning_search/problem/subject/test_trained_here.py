"""A model that comes without weights is trained before the search, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoprune.config.settings import load_config
from autoprune.errors import DataError
from autoprune.pruning_search import prepare
from autoprune.review import Listener

MADE = """
import torch
from torch import nn


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def data():
    split = torch.load("inputs.pt"), torch.arange(48) % 3
    return {"train": split, "validation": split, "test": split, "classes": 3}
"""
SETTINGS = {
    "model": "net.py:model",
    "data": "net.py:data",
    "train_epochs": 1,
    "storage": "sqlite:///:memory:",
    "latency": False,
}


class Trainings(Listener):
    """Counts the models that are trained."""

    def __init__(self) -> None:
        self.count = 0

    def progress(self, fraction: float, detail: str = "") -> None:
        self.count += fraction == 1 and detail.startswith("training")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    Path("net.py").write_text(MADE)


def save_inputs(seed: int) -> None:
    torch.save(torch.randn(48, 16, generator=torch.Generator().manual_seed(seed)), "inputs.pt")


def test_it_is_trained_again_for_other_data_of_the_same_name() -> None:
    trainings = Trainings()
    weights = []
    for seed in (0, 1, 0):
        save_inputs(seed)
        weights.append(prepare(load_config(None, SETTINGS), trainings).subject.weights)
    assert weights[0] == weights[2] != weights[1]
    assert trainings.count == 2


def test_it_is_trained_in_the_precision_of_the_settings() -> None:
    trainings = Trainings()
    save_inputs(0)
    weights = [
        prepare(load_config(None, {**SETTINGS, "precision": precision}), trainings).subject.weights
        for precision in ("float32", "bf16")
    ]
    assert weights[0] != weights[1]
    assert trainings.count == 2


@pytest.mark.parametrize(("targets", "message"), [(7, "a target is 7"), (-1, "a target is -1")])
def test_a_target_that_is_no_class_is_named_before_it_is_trained(targets: int, message: str) -> None:
    save_inputs(0)
    Path("net.py").write_text(MADE.replace("% 3", f"% 3 + (torch.arange(48) == 5) * ({targets} - 2)"))
    trainings = Trainings()
    with pytest.raises(DataError, match=rf"{message} \(train, sample 5\)"):
        prepare(load_config(None, SETTINGS), trainings)
    assert trainings.count == 0
