from dataclasses import replace

import pytest
import torch
from test_finetune import RECIPE, made_data, network
from torch import nn

from autoprune.errors import ConfigError
from autoprune.recovery import cache_batches, finetune
from autoprune.recovery.training.feature_distillation import Tap, feature_loss
from autoprune.recovery.training.precision import Precision
from autoprune.tasks import TensorSplit, evaluate, weights_hash

CPU = torch.device("cpu")


def test_a_model_learns_in_mixed_precision_and_keeps_float32_weights():
    model, data = network(), made_data()
    before = evaluate(model, data.validation, data.task).value
    finetune(model, data, replace(RECIPE, precision="bf16"), seed=0)
    assert evaluate(model, data.validation, data.task).value > before + 0.2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    plain = network()
    finetune(plain, data, RECIPE, seed=0)
    assert weights_hash(plain) != weights_hash(model)


@pytest.mark.parametrize(
    ("capabilities", "groups", "same_as"),
    [({"amx_bf16": True}, 1, "bf16"), ({"amx_bf16": True}, 4, "float32"), ({}, 1, "float32")],
)
def test_automatic_precision_on_a_cpu(monkeypatch, capabilities, groups, same_as):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    hashes = []
    for precision in ("auto", same_as):
        torch.manual_seed(0)
        grouped = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
        model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), grouped, nn.Flatten(), nn.Linear(128, 3))
        finetune(model, made_data(), replace(RECIPE, precision=precision), seed=0)
        hashes.append(weights_hash(model))
    assert hashes[0] == hashes[1]


def test_the_gradient_norm_is_bounded():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = 1000 * model(torch.ones(3, 4)).sum()
    precision = Precision("float32", model)
    precision.backward(loss)
    precision.update(model, optimizer, clip=0.5)
    moved = [p.detach() - old for p, old in zip(model.parameters(), before, strict=True)]
    assert torch.cat([change.flatten() for change in moved]).norm() == pytest.approx(0.5, rel=1e-4)


def test_an_unknown_precision():
    with pytest.raises(ConfigError, match="use 'auto', 'float32' or 'bf16'"):
        replace(RECIPE, precision="int8")


def two_layers(width):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 3))


def test_features_are_compared_where_shapes_agree():
    teacher, student = two_layers(8), two_layers(5)
    inputs = torch.randn(7, 4)
    with Tap(student).attached() as own, Tap(teacher).attached() as wanted:
        outputs = student(inputs)
        with torch.no_grad():
            teacher(inputs)
        loss = feature_loss(own, wanted, outputs)
        expected = []
        for name in ("2", "3"):
            target = wanted.outputs[name]
            expected.append((own.outputs[name] - target).square().mean() / (target.square().mean() + 1e-6))
    assert float(loss.detach()) == pytest.approx(float(sum(expected).detach() / 2), rel=1e-5)
    loss.backward()
    assert student[0].weight.grad is not None
    assert not student._forward_hooks
    assert not student[0]._forward_hooks


def test_equal_networks_have_no_feature_loss_and_cut_ones_may_have_no_features():
    teacher = two_layers(8)
    with Tap(teacher).attached() as own, Tap(teacher).attached() as wanted:
        outputs = teacher(torch.randn(7, 4))
        assert float(feature_loss(own, wanted, outputs).detach()) == 0
    other = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    inputs = torch.randn(7, 4)
    with Tap(other).attached() as own, Tap(teacher).attached() as wanted:
        outputs = other(inputs)
        teacher(inputs)
        assert float(feature_loss(own, wanted, outputs).detach()) == 0


def test_features_bring_the_layers_of_a_student_nearer_to_its_teacher():
    data, teacher = made_data(), network(seed=9).eval()
    distances = []
    for weight in (0.0, 5.0):
        model = network()
        finetune(model, data, replace(RECIPE, distill=0.1, distill_features=weight), seed=0, teacher=teacher)
        model.eval()
        inputs = data.train.inputs
        with torch.no_grad():
            distances.append(float((model[:3](inputs) - teacher[:3](inputs)).square().mean()))
    assert distances[1] < 0.7 * distances[0]


def test_cached_batches_take_the_place_of_the_data():
    data, teacher = made_data(), network(seed=9)
    recipe = replace(RECIPE, distill=0.5)
    cached_batches = cache_batches(data.train, recipe, 4, teacher, CPU)
    assert cached_batches is not None
    assert len(cached_batches) == recipe.steps
    streamed, from_cache = network(), network()
    finetune(streamed, data, recipe, seed=4, teacher=teacher)
    empty = replace(data, train=TensorSplit(data.train.inputs[:1], data.train.targets[:1]))
    finetune(from_cache, empty, recipe, seed=4, teacher=teacher, cached_batches=cached_batches)
    # Kernels may round differently for tensors that lie elsewhere in memory, hence close and not equal.
    torch.testing.assert_close(from_cache.state_dict(), streamed.state_dict(), rtol=1e-5, atol=1e-6)


def test_cached_batches_that_need_too_much_memory_are_not_drawn():
    assert cache_batches(made_data().train, replace(RECIPE, steps=10**9), 4, None, CPU) is None
