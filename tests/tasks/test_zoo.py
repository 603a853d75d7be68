import torch
from fvcore.nn import FlopCountAnalysis

from autoprune.structure import discover
from autoprune.tasks import digits_resnet, resnet20
from autoprune.tasks.zoo import plain8


def macs(model, shape):
    return FlopCountAnalysis(model.eval(), torch.randn(shape)).unsupported_ops_warnings(False).total()


def test_resnet20_is_the_network_of_the_paper():
    model = resnet20()
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 19
    assert 30e6 < macs(model, (1, 1, 28, 28)) < 33e6
    assert 0.26e6 < sum(p.numel() for p in model.parameters()) < 0.28e6


def test_other_inputs_and_classes():
    assert resnet20(classes=7, channels=3)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_digits_resnet_is_small():
    model = digits_resnet()
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert macs(model, (1, 1, 8, 8)) < 2e6


def test_the_plain_network_has_no_shortcuts_and_costs_as_much_as_the_residual_one():
    model = plain8()
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 8
    assert 27e6 < macs(model, (1, 1, 28, 28)) < 33e6
    groups = discover(model, torch.zeros(1, 1, 28, 28)).groups
    assert [group.width for group in groups] == [32, 32, 64, 64, 128, 128, 128]
