import pytest
import torch

from autoprune.errors import ModelError
from autoprune.recovery import Recipe, baseline_path, train_baseline
from autoprune.tasks import digits_resnet, load_data, weights_hash

RECIPE = Recipe(steps=3, lr=0.05, batch_size=32, schedule="onecycle")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_baseline_is_trained_once(cache):
    data = load_data("digits")
    first, second = digits_resnet(), digits_resnet()
    untrained = weights_hash(first)
    steps = []
    path = train_baseline(first, data, RECIPE, key="a", seed=0, on_step=lambda step, loss: steps.append(step))
    assert path == baseline_path("a")
    assert path.is_relative_to(cache / "baselines")
    assert steps == [1, 2, 3]
    assert weights_hash(first) != untrained

    again = train_baseline(
        second, data, RECIPE, key="a", seed=1, on_step=lambda step, loss: steps.append(step)
    )
    assert again == path
    assert steps == [1, 2, 3]
    assert weights_hash(second) == weights_hash(first)


def test_keys_do_not_meet():
    assert baseline_path("a") != baseline_path("b")


def test_weights_of_another_model_are_refused():
    data = load_data("digits")
    train_baseline(digits_resnet(), data, RECIPE, key="a", seed=0)
    with pytest.raises(ModelError, match="does not fit"):
        train_baseline(torch.nn.Linear(2, 2), data, RECIPE, key="a", seed=0)
