from dataclasses import replace

import pytest
import torch
from test_finetune import RECIPE, made_data, network

from autoprune.errors import ConfigError
from autoprune.recovery import Checkpoint, finetune
from autoprune.recovery.training.recipe import steps_of
from autoprune.recovery.training.resumable_batches import Stream
from autoprune.tasks import TensorSplit, weights_hash
from autoprune.tasks.datasets.augment import CropFlip


class Stop(Exception):
    pass


def stopping_at(at):
    def check(step, loss):
        if step == at:
            raise Stop

    return check


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "lr": 0.01}, {"schedule": "onecycle"}])
@pytest.mark.parametrize("at", [4, 17])
def test_a_run_that_was_stopped_gives_the_weights_that_it_would_have_given(tmp_path, monkeypatch, change, at):
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.EVERY_SECONDS", 0.0)
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.MOST_SHARE", 1e9)
    data, recipe = made_data(), replace(RECIPE, distill=0.5, **change)
    augmented = TensorSplit(data.train.inputs, data.train.targets, CropFlip(1))
    data = replace(data, train=augmented)
    teacher = network(seed=3)

    whole = network()
    finetune(whole, data, recipe, seed=5, teacher=teacher)

    path = tmp_path / "run.pt"
    with pytest.raises(Stop):
        finetune(
            network(),
            data,
            recipe,
            seed=5,
            teacher=teacher,
            on_step=stopping_at(at),
            checkpoint=Checkpoint(path, "a"),
        )
    steps = []
    resumed = network(seed=8)
    done = finetune(
        resumed,
        data,
        recipe,
        seed=5,
        teacher=teacher,
        on_step=lambda step, loss: steps.append(step),
        checkpoint=Checkpoint(path, "a"),
    )
    assert steps == list(range(at + 1, 31))
    assert done.steps == 30
    assert weights_hash(resumed) == weights_hash(whole)
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_is_over_is_not_run_again(tmp_path):
    data, first, again = made_data(), network(), network(seed=2)
    finetune(first, data, RECIPE, seed=5, checkpoint=Checkpoint(tmp_path / "run.pt", "a"))
    steps = []
    finetune(
        again,
        data,
        RECIPE,
        seed=5,
        on_step=lambda step, loss: steps.append(step),
        checkpoint=Checkpoint(tmp_path / "run.pt", "a"),
    )
    assert steps == []
    assert weights_hash(again) == weights_hash(first)


@pytest.mark.parametrize("damage", ["other key", "cut", "pickle"])
def test_a_file_that_is_no_checkpoint_of_this_run_is_not_used(tmp_path, damage):
    path = tmp_path / "run.pt"
    checkpoint = Checkpoint(path, "a")
    checkpoint.write({"losses": [1.0]})
    assert checkpoint.read()["losses"] == [1.0]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    if damage == "pickle":
        torch.save({"key": "a", "model": network()}, path)
    assert Checkpoint(path, "b" if damage == "other key" else "a").read() is None


def test_a_stream_goes_on_from_its_place():
    split = TensorSplit(torch.arange(20.0), torch.arange(20), None)
    stream = Stream(split, 6, seed=1)
    batches = []
    for batch in stream:
        batches.append(batch[1])
        if len(batches) == 5:
            break
    again = iter(Stream(split, 6, seed=99, place=stream.place))
    whole = iter(Stream(split, 6, seed=1))
    expected = [next(whole)[1] for _ in range(9)]
    assert all(torch.equal(read, batch) for read, batch in zip(batches, expected, strict=False))
    assert all(torch.equal(next(again)[1], batch) for batch in expected[5:])


@pytest.mark.parametrize(
    ("text", "steps"), [("500steps", 500), ("1step", 1), ("5epochs", 15), ("0.5 epochs", 2), ("1epoch", 3)]
)
def test_lengths(text, steps):
    assert steps_of(text, made_data().train, 64) == steps


@pytest.mark.parametrize("text", ["", "5", "epochs", "0steps", "1.5steps", "-1epochs", "5 hours"])
def test_lengths_that_are_none(text):
    with pytest.raises(ConfigError, match="write 5epochs or 500steps"):
        steps_of(text, made_data().train, 64)
