"""Data that cannot be read, and losses that are no numbers: the trial fails, the search goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import autoprune
from autoprune.errors import DataError, TrialError
from autoprune.pruning_search import loop
from autoprune.review import Listener
from autoprune.tasks import Data, DatasetSplit, LoaderSplit, classification


class Flaky(Dataset[Any]):
    """Samples, some of whose reads fail once `failing` is set to their number."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(96, 1, 6, 6, generator=generator)
        self.failing = 0

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.failing:
            self.failing -= 1
            raise KeyError(f"sample {index}\nis on a disk that is away")
        return self.inputs[index], int(self.inputs[index, 0, 0, :3].argmax())


class Failing(Listener):
    """Lets reads fail from one trial on."""

    def __init__(self, data: Flaky, trial: int, reads: int) -> None:
        self._data, self._trial, self._reads = data, trial, reads

    def trial_started(self, number: int, *rest: Any) -> None:
        if number == self._trial:
            self._data.failing = self._reads


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10), nn.ReLU(), nn.Linear(10, 3)
    ).eval()


def search(flaky: Flaky, folder: Path, *, trial: int, reads: int, **settings: object) -> autoprune.Study:
    split = DatasetSplit(flaky)
    return autoprune.search(
        network(),
        Data("flaky", split, split, split, classification(3)),
        budget="flops=60%",
        trials=4,
        storage=f"sqlite:///{folder}/study.db",
        name="flaky",
        listener=Failing(flaky, trial, reads),
        latency=False,
        finetune_steps=2,
        batch_size=32,
        calibration_batches=1,
        **settings,
    )


@pytest.mark.parametrize("split", [DatasetSplit, lambda flaky: LoaderSplit(DataLoader(flaky, 8))])
def test_a_read_that_fails_says_so_in_one_line(split: Any) -> None:
    flaky = Flaky()
    flaky.failing = 1
    with pytest.raises(DataError, match=r"^reading the data failed: KeyError: .*is on a disk") as caught:
        list(split(flaky).batches(8))
    assert "\n" not in str(caught.value)


def test_a_loader_that_raises_costs_one_trial(tmp_path: Path) -> None:
    study = search(Flaky(), tmp_path, trial=0, reads=1)
    states = [trial.state for trial in study.optuna.trials[:4]]
    assert states == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]
    assert study.optuna.trials[0].user_attrs["reason"].startswith("reading the data failed: KeyError")


def test_a_loader_that_raises_for_ever_ends_the_search_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MOST_FAILURES", 3)
    with pytest.raises(TrialError, match="3 trials in a row failed: reading the data failed"):
        search(Flaky(), tmp_path, trial=0, reads=10**9)


@pytest.mark.parametrize("lr", [1e38, 1e3])
def test_a_loss_that_is_no_number_ends_the_trial(tmp_path: Path, lr: float) -> None:
    split = DatasetSplit(Flaky())
    study = autoprune.search(
        network(),
        Data("made", split, split, split, classification(3)),
        budget="flops=60%",
        trials=2,
        storage=f"sqlite:///{tmp_path}/study.db",
        latency=False,
        finetune_steps=30,
        batch_size=32,
        calibration_batches=1,
        lr=lr,
        optimizer="sgd",
    )
    for trial in study.optuna.trials[:2]:
        if trial.state is TrialState.FAIL:
            assert "--lr" in trial.user_attrs["reason"]
        else:
            assert trial.values is not None
            assert all(math.isfinite(value) for value in trial.values)
