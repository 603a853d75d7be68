import copy
import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from autoprune.tasks.layout import fast_layout

MANY = 10**6


def strides(model):
    return [parameter.stride() for parameter in model.parameters()]


def test_weights_are_channels_last_meanwhile():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 1))
    plain, inputs = copy.deepcopy(model), torch.randn(2, 3, 6, 6)
    with fast_layout(model, MANY) as settle:
        settle(inputs)
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert not model[0].weight.is_contiguous()
        torch.testing.assert_close(model(inputs), plain(inputs))
    assert strides(model) == strides(plain)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_kernels_that_are_unsafe_channels_last_stay_as_they_are():
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 1))
    before = strides(model)
    with fast_layout(model, MANY) as settle:
        settle(torch.randn(2, 3, 6, 6))
        assert strides(model) == before


def test_weights_that_are_channels_last_stay_so():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3)).to(
        memory_format=torch.channels_last
    )
    before = strides(model)
    with fast_layout(model, MANY) as settle:
        settle(torch.randn(2, 3, 6, 6))
        assert strides(model) == before
    assert strides(model) == before


def test_one_use_within_another_ends_with_the_outer_one():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    before, inputs = strides(model), torch.randn(2, 1, 6, 6)
    with fast_layout(model, MANY) as settle:
        settle(inputs)
        assert model[:2](inputs).is_contiguous(memory_format=torch.channels_last)
        meanwhile = strides(model)
        with fast_layout(model, MANY) as again:
            again(inputs)
            assert strides(model) == meanwhile
        assert strides(model) == meanwhile
    assert strides(model) == before


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs):
        return 2 * inputs

    @staticmethod
    def backward(context, gradient):
        return gradient.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) * 2


class Net(nn.Module):
    """A convolution, what a test puts in between, and a classifier."""

    def __init__(self, between, features):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(features, 4)
        self.between, self.calls, self.offset = between, 0, torch.ones(1)

    def forward(self, inputs):
        self.calls += 1
        return self.head(self.between(self, functional.relu(self.convolution(inputs))))


def by_branch(net, x):
    return x.mean((2, 3)) if x.is_contiguous() else x.amax((2, 3))


def by_failure(net, x):
    try:
        return x.view(x.size(0), -1)
    except RuntimeError:
        return x.reshape(x.size(0), -1) + 1


def by_memory(net, x):
    return torch.as_strided(x, (x.size(0), 8), (x[0].numel(), 1))


def by_array(net, x):
    return x.mean((2, 3)) + float(x.detach().numpy().ravel("K")[0])


def by_shared_memory(net, x):
    flat = x.flatten(1)
    x += 1
    return flat


def by_value(net, x):
    return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def by_chance(net, x):
    return functional.dropout(x, 0.5, net.training).mean((2, 3))


def by_another_chance(net, x):
    return x.mean((2, 3)) if random.random() < 0.5 else x.amax((2, 3))


def by_hook(net, x):
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient.reshape(-1).view(gradient.shape))
    return x.mean((2, 3))


def by_script(net, x):
    return torch.jit.script(_pooled)(x)


def _pooled(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3)) if x.is_contiguous() else x.amax((2, 3))


SEEING = [
    (lambda net, x: x.view(x.size(0), -1), 288),
    (lambda net, x: functional.max_pool2d(x, 2).view(x.size(0), -1), 72),
    (lambda net, x: x.mean((2, 3)) * x.stride(1), 8),
    (lambda net, x: Doubled.apply(x).mean((2, 3)), 8),
    (lambda net, x: x.mean((2, 3)) + net.convolution.weight.view(8, -1)[:, 0], 8),
    *((seen, 8) for seen in (by_branch, by_memory, by_array, by_value, by_chance, by_another_chance)),
    *((seen, 8) for seen in (by_hook, by_script)),
    (by_failure, 288),
    (by_shared_memory, 288),
]
NOT_SEEING = [
    (lambda net, x: x.mean((2, 3)), 8),
    (lambda net, x: functional.dropout(x.flatten(1), 0.5, net.training) + net.offset, 288),
    (lambda net, x: functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1), 8),
    (lambda net, x: functional.avg_pool2d(x, x.shape[3]).squeeze(3).squeeze(2), 8),
    (lambda net, x: (x + x[:, :1]).reshape(len(x), -1), 288),
]


@pytest.mark.parametrize(("between", "features"), SEEING)
def test_code_that_could_see_the_layout_runs_without_it(between, features):
    model, inputs = Net(between, features), torch.randn(4, 3, 6, 6)
    before, chance = strides(model), (torch.get_rng_state(), random.getstate())
    with fast_layout(model, MANY) as settle:
        settle(inputs)
        assert strides(model) == before
        model(inputs)
    assert model.calls == 1
    random.setstate(chance[1])
    with fast_layout(copy.deepcopy(model), MANY) as settle:
        torch.set_rng_state(chance[0])
        settle(inputs)
    assert random.getstate() == chance[1]
    assert torch.equal(torch.get_rng_state(), chance[0])


@pytest.mark.parametrize(("between", "features"), NOT_SEEING)
def test_code_that_cannot_see_the_layout_runs_with_it(between, features):
    model, inputs = Net(between, features).eval(), torch.randn(4, 3, 6, 6)
    expected, state = model(inputs), copy.deepcopy(model.state_dict())
    with fast_layout(model, MANY) as settle, torch.inference_mode():
        settle(inputs)
        assert model.convolution.weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(inputs), expected)
    assert model.calls == 2
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    model(inputs).sum().backward()


def test_an_image_that_a_model_returns_has_the_strides_that_it_has_without_the_layout():
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.randn(4, 3, 8, 8)
    expected = model(inputs)
    with fast_layout(model, MANY) as settle:
        settle(inputs)
        assert model[0](inputs).is_contiguous(memory_format=torch.channels_last)
        outputs = model(inputs)
    torch.testing.assert_close(outputs, expected)
    assert outputs.stride() == expected.stride()
    assert not model._forward_hooks


def test_little_data_is_not_worth_a_trial():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    before = strides(model)
    with fast_layout(model) as settle:
        settle(torch.randn(4, 3, 8, 8))
        assert strides(model) == before
