import pytest
import torch
import torchvision
from torch import nn

import autoprune
from autoprune.errors import CriterionError, PlanError
from autoprune.tasks import load_data

IMAGE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None)


@pytest.fixture(scope="module")
def structure(model: nn.Module) -> autoprune.Structure:
    return autoprune.discover(model, IMAGE)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


def widths(model: nn.Module) -> list[int]:
    return [module.out_features for module in model if isinstance(module, nn.Linear)]


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


def test_half_of_every_group_goes_by_default(network: nn.Module) -> None:
    assert widths(autoprune.prune(network, torch.randn(1, 6))) == [6, 4, 3]
    assert widths(network) == [12, 8, 3]


def test_across_the_model_the_weakest_go_first(network: nn.Module) -> None:
    with torch.no_grad():
        network[2].weight[:6] *= 1e-3
        network[4].weight[:, :6] *= 1e-3
    assert widths(autoprune.prune(network, torch.randn(1, 6), 0.3, scope="global")) == [12, 2, 3]


def test_by_threshold(network: nn.Module) -> None:
    with torch.no_grad():
        network[2].weight[:6] *= 1e-3
        network[4].weight[:, :6] *= 1e-3
    pruned = autoprune.prune(network, torch.randn(1, 6), threshold=0.1)
    assert widths(pruned) == [12, 2, 3]
    assert widths(autoprune.prune(network, torch.randn(1, 6), threshold=99.0)) == [1, 1, 3]


def test_only_what_a_restricted_structure_allows(network: nn.Module) -> None:
    structure = autoprune.restrict(autoprune.discover(network, torch.randn(1, 6)), skip=["0"])
    pruned = autoprune.prune(network, torch.randn(1, 6), 0.5, structure=structure)
    assert widths(pruned) == [12, 4, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.5, "threshold": 1.0}, "either a sparsity or a threshold"),
        ({"sparsity": 0.5, "scope": "galactic"}, "use 'local' or 'global'"),
        ({"sparsity": {"0": 0.5}, "scope": "global"}, "use scope 'local'"),
    ],
)
def test_mistakes(network: nn.Module, settings: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        autoprune.prune(network, torch.randn(1, 6), **settings)  # type: ignore[arg-type]
