"""Files cut short at every sixteenth of their length: made again where they can be, refused otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.errors import DamagedError
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.recovery import Checkpoint, Recipe, finetune, train_baseline
from autoprune.structure import Plan
from autoprune.tasks import (
    Data,
    TensorSplit,
    classification,
    load_weights,
    save_weights,
    weights_hash,
)

RECIPE = Recipe(steps=6, lr=0.05, batch_size=16)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def made_data() -> Data:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(48, 1, 4, 4, generator=generator)
    split = TensorSplit(inputs, inputs[:, 0, 0, :3].argmax(1))
    return Data("made", split, split, split, classification(3))


def cut_short(file: Path) -> Iterator[int]:
    """Leave one sixteenth of the file, two, and so on up to fifteen, and none at all."""
    whole = file.read_bytes()
    for part in range(16):
        file.write_bytes(whole[: len(whole) * part // 16])
        yield part
    file.write_bytes(whole)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_are_refused_and_the_model_is_left_alone(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(network().state_dict(), file)
    else:
        save_weights(network(), file)
    model = network(seed=1)
    before = weights_hash(model)
    for _ in cut_short(file):
        with pytest.raises(DamagedError, match="damaged or no weights file: copy or download it again"):
            load_weights(model, file)
        assert weights_hash(model) == before
    load_weights(model, file)
    assert weights_hash(model) == weights_hash(network())


def test_a_checkpoint_counts_as_none_and_the_run_begins_again(tmp_path: Path) -> None:
    file, data = tmp_path / "run.pt", made_data()
    whole = network()
    finetune(whole, data, RECIPE, seed=3, checkpoint=Checkpoint(file, "a"))
    for _ in cut_short(file):
        assert Checkpoint(file, "a").read() is None
        again, steps = network(), []
        finetune(
            again,
            data,
            RECIPE,
            seed=3,
            on_step=lambda step, loss, steps=steps: steps.append(step),
            checkpoint=Checkpoint(file, "a"),
        )
        assert steps == [1, 2, 3, 4, 5, 6]
        assert weights_hash(again) == weights_hash(whole)


def test_a_cached_baseline_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))
    first = network()
    file = train_baseline(first, made_data(), RECIPE, key="a", seed=0)
    for _ in cut_short(file):
        again = network()
        train_baseline(again, made_data(), RECIPE, key="a", seed=0)
        assert weights_hash(again) == weights_hash(first)


def test_kept_weights_and_plans_count_as_missing(tmp_path: Path) -> None:
    store, plan = WeightStore(tmp_path), Plan({"0": (0, 2)})
    store.save(4, network(), plan)
    assert store.plan(4) == plan
    assert store.load(4, network(seed=1))
    for _ in cut_short(tmp_path / "trial-4.plan.json"):
        assert store.plan(4) is None
    for _ in cut_short(tmp_path / "trial-4.safetensors"):
        assert not store.load(4, network(seed=1))
