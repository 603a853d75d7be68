import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

import autoprune
from autoprune.errors import CriterionError, PlanError, UserError
from autoprune.tasks import load_data

IMAGE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None)


@pytest.fixture(scope="module")
def structure(model: nn.Module) -> autoprune.Structure:
    return autoprune.discover(model, IMAGE)


def test_one_sparsity_for_all_groups(model: nn.Module, structure: autoprune.Structure) -> None:
    pruned = autoprune.prune(model, IMAGE, 0.25, structure=structure)
    assert isinstance(pruned, torchvision.models.ResNet)
    assert (pruned.conv1.out_channels, pruned.fc.in_features) == (48, 384)
    assert model.conv1.out_channels == 64
    assert pruned(IMAGE.expand(2, -1, -1, -1)).shape == (2, 1000)


def test_a_sparsity_for_named_groups_leaves_the_others_whole(
    model: nn.Module, structure: autoprune.Structure
) -> None:
    pruned = autoprune.prune(model, IMAGE, {"layer1.0.conv1": 0.5}, criterion="l1", structure=structure)
    assert pruned.layer1[0].conv1.out_channels == 32
    assert pruned.layer1[1].conv1.out_channels == 64
    norms = model.layer1[0].conv1.weight.detach().abs().sum((1, 2, 3))
    kept = pruned.layer1[0].conv1.weight.detach().abs().sum((1, 2, 3))
    assert kept.mean() > 0.9 * norms.mean()


@pytest.mark.parametrize(
    ("sparsity", "says"),
    [
        (1.0, "at least 0 and below 1"),
        (-0.1, "at least 0 and below 1"),
        (0.0, "removes nothing"),
        ({"layer9": 0.5}, "there is no group 'layer9'"),
    ],
)
def test_a_sparsity_that_cannot_be_is_refused(
    model: nn.Module, structure: autoprune.Structure, sparsity: float | dict[str, float], says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        autoprune.prune(model, IMAGE, sparsity, structure=structure)


def test_taylor_needs_data_and_takes_it() -> None:
    data = load_data("digits")
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with pytest.raises(CriterionError, match="needs calibration data"):
        autoprune.prune(net, data.example(1), 0.5, criterion="taylor")
    pruned = autoprune.prune(net, data.example(1), 0.5, criterion="taylor", data=data)
    assert pruned[0].out_channels == 4
    assert pruned[3].in_features == 4 * 36


def test_settings_are_checked_before_anything_runs() -> None:
    with pytest.raises(UserError, match="unknown setting 'finetune_step'"):
        autoprune.search(data="digits", finetune_step=3)


def test_public_names_stay_functions_when_subpackages_are_imported() -> None:
    code = (
        "import autoprune, autoprune.search.loop, autoprune.export.write;"
        "assert callable(autoprune.search) and callable(autoprune.export);"
        "print(sorted(n for n in autoprune.__all__ if not hasattr(autoprune, n)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, autoprune.cli; print('torch' in sys.modules, 'optuna' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False False", result.stderr
