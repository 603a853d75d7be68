import pytest
import torch
from torch import nn

from autoprune.errors import DataError
from autoprune.recovery import recalibrate
from autoprune.recovery.batchnorm import batch_statistics


def test_statistics_become_the_average_over_the_batches():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9), nn.BatchNorm1d(3))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(16, 3, generator=generator) * 5 + 2 for _ in range(4)]

    assert recalibrate(model, iter(batches)) == 2
    means = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    variances = torch.stack([batch.var(0) for batch in batches]).mean(0)
    torch.testing.assert_close(model[0].running_mean, means)
    torch.testing.assert_close(model[0].running_var, variances)
    # Without dropout in between, the second sees standardised inputs.
    torch.testing.assert_close(model[2].running_mean, torch.zeros(3), atol=1e-5, rtol=0)


def test_flags_momentum_and_weights_stay():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=0.3)).train()
    model[1].eval()
    weight = model[0].weight.detach().clone()
    recalibrate(model, [torch.randn(8, 3)])
    assert model[1].momentum == 0.3
    assert [model.training, model[0].training, model[1].training] == [True, True, False]
    assert torch.equal(model[0].weight, weight)
    assert model[0].weight.grad is None


def test_momentum_comes_back_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3))
    with pytest.raises(DataError):
        recalibrate(model, [torch.randn(8, 4)])
    assert model[0].momentum == 0.3


def test_models_without_statistics_read_no_batch():
    def never():
        raise AssertionError
        yield

    assert recalibrate(nn.Linear(3, 3), never()) == 0
    assert recalibrate(nn.BatchNorm1d(3, track_running_stats=False), never()) == 0


def test_the_statistics_of_a_batch_take_the_place_of_the_running_ones():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    with pytest.raises(ZeroDivisionError), batch_statistics(model), torch.no_grad():
        outputs = model(inputs)
        raise ZeroDivisionError
    torch.testing.assert_close(outputs.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.var(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    with torch.no_grad():
        assert not torch.equal(model(inputs), outputs)
