"""The families that the first version promises, each cut to half sparsity in every group."""

import copy
import warnings

import pytest
import torch
import torchvision
from fvcore.nn import FlopCountAnalysis
from torch import nn

from autoprune.cost import CostModel
from autoprune.structure import Structure, apply, discover
from autoprune.structure.verification.verify import difference, half_plan

MODELS = (
    "resnet18",
    "resnet50",
    "vgg16_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "resnext50_32x4d",
    "mnasnet1_0",
    "alexnet",
)
IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
GROUPS = {
    "resnet18": 12,
    "resnet50": 37,
    "vgg16_bn": 15,
    "mobilenet_v2": 25,
    "densenet121": 120,
    "squeezenet1_1": 25,
    "alexnet": 7,
}


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[str, nn.Module, Structure]:
    torch.manual_seed(0)
    model = torchvision.models.get_model(request.param, weights=None).eval()
    return request.param, model, discover(model, IMAGE)


def test_groups_are_found(case: tuple[str, nn.Module, Structure]) -> None:
    name, model, structure = case
    assert len(structure.groups) == GROUPS.get(name, len(structure.groups))
    assert len({group.name for group in structure.groups}) == len(structure.groups) > 5
    layers = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    touched = {s.parameter.rpartition(".")[0] for g in structure.groups for s in g.slices}
    # Depthwise convolutions only carry units along; in a frozen stream they stay with it.
    carried = {n for n, m in model.named_modules() if getattr(m, "groups", 1) > 1}
    assert layers <= touched | set(structure.frozen) | carried


def test_half_of_everything_runs_forward_and_backward(case: tuple[str, nn.Module, Structure]) -> None:
    _, model, structure = case
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    plan = half_plan(structure, structure.groups)
    pruned = apply(model, plan, structure)
    output = pruned.train()(IMAGE.expand(2, -1, -1, -1))
    assert output.shape == (2, 1000)
    output.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters())
    assert sum(p.numel() for p in pruned.parameters()) < 0.62 * sum(p.numel() for p in model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_each_group_equals_the_zeroed_model(case: tuple[str, nn.Module, Structure]) -> None:
    _, model, structure = case
    double = copy.deepcopy(model).double()
    for group in structure.groups:
        plan = half_plan(structure, [group], seed=1)
        assert difference(double, structure, plan, (IMAGE.double(),)) < 1e-9, group.name


def test_closed_forms_equal_what_is_counted_on_the_sliced_model(
    case: tuple[str, nn.Module, Structure],
) -> None:
    _, model, structure = case
    costs = CostModel.of(structure, model)
    plan = half_plan(structure, structure.groups, seed=2)
    for sliced, widths in (
        (model, structure.widths),
        (apply(model, plan, structure), plan.widths(structure)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counter = FlopCountAnalysis(sliced.eval(), IMAGE)
            counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            assert costs.flops(widths) == counter.total()
        tensors = [*sliced.parameters(), *sliced.buffers()]
        assert costs.parameters(widths) == sum(p.numel() for p in sliced.parameters())
        assert costs.size(widths) == sum(t.numel() * t.element_size() for t in tensors)
