import pytest
import torch

from autoprune.errors import ConfigError
from autoprune.recovery import Recipe, steps_for_epochs
from autoprune.tasks import TensorSplit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("label_smoothing", 1.0),
        ("distill", 1.5),
        ("temperature", 0.0),
        ("clip", -1.0),
        ("optimizer", "adam"),
        ("schedule", "linear"),
    ],
)
def test_settings_that_cannot_be_used_are_named(name, value):
    with pytest.raises(ConfigError, match=name):
        Recipe(**{name: value})


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(1, 10, 10), (2.5, 10, 25), (1, 32, 3), (1, 500, 1)]
)
def test_steps_for_epochs(epochs, batch_size, steps):
    split = TensorSplit(torch.zeros(105, 1), torch.zeros(105))
    assert steps_for_epochs(epochs, split, batch_size) == steps
