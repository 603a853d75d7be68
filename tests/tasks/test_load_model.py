import importlib.util

import pytest
import torch
from torch import nn

from autoprune.errors import MissingExtraError, ModelError
from autoprune.tasks import load_model


def test_a_torchvision_model_for_other_classes():
    model = load_model("torchvision:squeezenet1_1", classes=7).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 7)


def test_a_model_of_the_user(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\ndef make():\n    return nn.Linear(3, 2)\ndef wrong():\n    return 3\n"
    )
    assert isinstance(load_model(f"{path}:make"), nn.Linear)
    with pytest.raises(ModelError, match=r"returned int: it must return a torch\.nn\.Module"):
        load_model(f"{path}:wrong")


def test_a_model_of_a_package():
    model = load_model("autoprune.tasks.zoo:digits_resnet")
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet81", "did you mean resnet18"),
        ("torchvision:zzzzzz", "check the spelling"),
        ("resnet18", "torchvision:NAME"),
        ("no_such_package.module:make", "ModuleNotFoundError"),
    ],
)
def test_models_that_cannot_be_found(spec, message):
    with pytest.raises(ModelError, match=message):
        load_model(spec)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_names_its_extra():
    with pytest.raises(MissingExtraError, match=r"autoprune\[timm\]"):
        load_model("timm:resnet18")
