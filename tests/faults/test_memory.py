"""A candidate for which memory runs out: it is run again with its batches in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor, nn

import autoprune
from autoprune.errors import TrialError
from autoprune.pruning_search import loop
from autoprune.pruning_search.evaluation.micro_batches import MicroBatches
from autoprune.recovery import Recipe, finetune
from autoprune.review import Listener
from autoprune.tasks import Data, TensorSplit, classification, weights_hash
from autoprune.tasks.out_of_memory import is_out_of_memory


def on_the_cpu() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def in_python() -> None:
    bytearray(2**62)


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Greedy(nn.Module):
    """A small network that finds no room for more samples than ``room`` while it is trained."""

    room = 10**9
    allocate: Callable[[], None] = staticmethod(on_the_cpu)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3)
        self.hidden = nn.Linear(12, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] > self.room:
            self.allocate()
        return self.head(torch.relu(self.hidden(torch.relu(self.conv(x)).mean((2, 3)))))


@pytest.fixture
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 1, 6, 6, generator=generator)
    split = TensorSplit(inputs, inputs[:, 0, 0, :3].argmax(1))
    return Data("made", split, split, split, classification(3))


class Notes(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def search(data: Data, folder: Path, notes: Notes, **settings: object) -> autoprune.Study:
    torch.manual_seed(0)
    return autoprune.search(
        Greedy().eval(),
        data,
        budget="flops=60%",
        trials=3,
        storage=f"sqlite:///{folder}/study.db",
        name="greedy",
        listener=notes,
        latency=False,
        finetune_steps=2,
        calibration_batches=1,
        **{"batch_size": 64, **settings},
    )


@pytest.mark.parametrize("allocate", [on_the_cpu, in_python, on_a_gpu])
def test_memory_that_runs_out_is_told_from_other_failures(allocate: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_out_of_memory(caught.value)
    wrapped = ValueError("the model failed")
    wrapped.__cause__ = caught.value
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(None)


@pytest.mark.parametrize("allocate", [on_the_cpu, in_python, on_a_gpu])
def test_a_trial_without_room_is_run_again_in_pieces(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allocate: Callable[[], None]
) -> None:
    monkeypatch.setattr(Greedy, "room", 16)
    monkeypatch.setattr(Greedy, "allocate", staticmethod(allocate))
    notes = Notes()
    study = search(data, tmp_path, notes)
    trials = study.optuna.trials
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    assert [trial.user_attrs["reason"][:13] for trial in failed] == ["out of memory"] * 2
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(complete) == 3
    assert {trial.user_attrs["pieces"] for trial in complete} == {4}
    (again,) = [trial for trial in complete if trial.user_attrs.get("retry_of") == failed[1].number]
    assert again.params == failed[0].params == failed[1].params
    told = [note for note in notes.notes if "ran out of memory" in note]
    assert [note.rpartition(" go in ")[2] for note in told] == [
        "2 pieces from now on",
        "4 pieces from now on",
    ]

    # What was trained in pieces is trained in as many again when its weights are lost.
    best = study.best()
    model = study.model(best.number)
    for file in tmp_path.glob("autoprune_artifacts/greedy/*"):
        file.unlink()
    assert (
        weights_hash(study.model(best.number)) == weights_hash(model) == best.user_attrs["recovered_weights"]
    )


def test_where_the_smallest_pieces_find_no_room_the_search_ends(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Greedy, "room", 4)
    monkeypatch.setattr(loop, "MOST_FAILURES", 2)
    with pytest.raises(TrialError, match=r"stopped, for 2 trials in a row failed: .*memory"):
        search(data, tmp_path, Notes())


def test_pieces_are_halved_down_to_a_few_samples() -> None:
    pieces = MicroBatches(100)
    assert [pieces.more() for _ in range(5)] == [True, True, True, False, False]
    assert pieces.count == 8


@pytest.mark.parametrize("pieces", [3, 1000])
def test_pieces_give_the_gradient_of_the_whole_batch(data: Data, pieces: int) -> None:
    recipe = Recipe(steps=4, lr=0.05, batch_size=32, label_smoothing=0.1, distill=0.5, clip=1.0)
    split = data.train
    assert isinstance(split, TensorSplit)
    wide = Data("wide", *[TensorSplit(split.inputs.double(), split.targets)] * 3, data.task)
    models = []
    for count in (1, pieces):
        torch.manual_seed(1)
        model = Greedy().double()
        torch.manual_seed(2)
        teacher = Greedy().double()
        done = finetune(model, wide, recipe, seed=0, teacher=teacher, pieces=count)
        models.append((model, done.loss))
    (whole, loss), (parts, other) = models
    assert other == pytest.approx(loss, rel=1e-9)
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)
