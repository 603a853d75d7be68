import copy

import torch
from torch import nn

from autoprune.tasks.layout import fast_layout


def strides(model):
    return [parameter.stride() for parameter in model.parameters()]


def test_weights_are_channels_last_meanwhile():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 1))
    plain, inputs = copy.deepcopy(model), torch.randn(2, 3, 6, 6)
    with fast_layout(model):
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert not model[0].weight.is_contiguous()
        torch.testing.assert_close(model(inputs), plain(inputs))
    assert strides(model) == strides(plain)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_kernels_that_are_unsafe_channels_last_stay_as_they_are():
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 1))
    before = strides(model)
    with fast_layout(model):
        assert strides(model) == before


def test_weights_that_are_channels_last_stay_so():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3)).to(
        memory_format=torch.channels_last
    )
    before = strides(model)
    with fast_layout(model):
        assert strides(model) == before
    assert strides(model) == before


def test_one_use_within_another_ends_with_the_outer_one():
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    before = strides(model)
    with fast_layout(model):
        assert model(torch.randn(2, 1, 6, 6)).is_contiguous(memory_format=torch.channels_last)
        meanwhile = strides(model)
        with fast_layout(model):
            assert strides(model) == meanwhile
        assert strides(model) == meanwhile
    assert strides(model) == before
