import copy

import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.errors import CriterionError, ModelError, PlanError, UserError
from autoprune.tasks import load_data

IMAGE = torch.zeros(1, 1, 8, 8)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(8 * 16, 16), nn.ReLU(), nn.Linear(16, 10)),
    )


def shares(model: nn.Module) -> dict[str, float]:
    """Share of non-zeros in every weight."""
    plain = autoprune.fold(model)
    weights = {name: p for name, p in plain.named_parameters() if p.ndim > 1}
    return {name.removesuffix(".weight"): float((p != 0).double().mean()) for name, p in weights.items()}


def test_half_of_every_weight_goes_by_default(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    masked = autoprune.mask(network, IMAGE)
    assert shares(masked) == {"0": 0.5, "2": 0.5, "5": 0.5, "7": 0.5}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert masked(IMAGE).shape == (1, 10)
    biases = autoprune.fold(masked).state_dict()
    assert all(torch.equal(biases[name], before[name]) for name in before if name.endswith("bias"))


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("2:4", {"0": 1.0, "2": 0.5, "5": 0.5, "7": 0.5}),
        ("1:4", {"0": 1.0, "2": 0.25, "5": 0.25, "7": 0.25}),
        ("4:8", {"0": 1.0, "2": 0.5, "5": 0.5, "7": 0.5}),
    ],
)
def test_n_of_m_takes_no_sparsity(network: nn.Module, granularity: str, expected: dict[str, float]) -> None:
    assert shares(autoprune.mask(network, IMAGE, granularity=granularity)) == expected
    with pytest.raises(PlanError, match=f"{granularity} already sets how much stays"):
        autoprune.mask(network, IMAGE, 0.5, granularity=granularity)


def test_every_four_inputs_have_two_zeros(network: nn.Module) -> None:
    plain = autoprune.fold(autoprune.mask(network, IMAGE, granularity="2:4"))
    for name in ("2", "5", "7"):
        weight = plain.get_parameter(f"{name}.weight")
        assert ((weight.reshape(-1, 4) != 0).sum(1) == 2).all()


def test_blocks_kernels_and_neurons(network: nn.Module) -> None:
    assert shares(autoprune.mask(network, IMAGE, 0.75, granularity="block:4x8")) == pytest.approx(
        {"0": 1.0, "2": 1 / 3, "5": 0.25, "7": 1.0}, abs=0.12
    )
    assert shares(autoprune.mask(network, IMAGE, 0.75, granularity="kernels")) == {
        **{"0": 0.25, "2": 0.25},
        **{"5": 1.0, "7": 1.0},
    }
    neurons = autoprune.fold(autoprune.mask(network, IMAGE, 0.75, granularity="neurons"))
    rows = (neurons.get_parameter("5.weight") != 0).all(1)
    assert int(rows.sum()) == 4
    assert (neurons.get_parameter("5.weight")[~rows] == 0).all()


def test_one_threshold_for_the_whole_model(network: nn.Module) -> None:
    with torch.no_grad():
        network[2].weight[:, :6] *= 1e-3
    found = shares(autoprune.mask(network, IMAGE, 0.15, scope="global"))
    assert found["2"] < 0.3
    assert min(found["0"], found["5"], found["7"]) > 0.9
    local = shares(autoprune.mask(network, IMAGE, 0.15))
    assert max(local.values()) - min(local.values()) < 0.02


def test_a_sparsity_for_named_layers(network: nn.Module) -> None:
    assert shares(autoprune.mask(network, IMAGE, {"5": 0.9})) == pytest.approx(
        {"0": 1.0, "2": 1.0, "5": 0.1, "7": 1.0}, abs=1e-3
    )


def test_first_order_scores_take_data(network: nn.Module) -> None:
    with pytest.raises(CriterionError, match="needs calibration data"):
        autoprune.mask(network, IMAGE, 0.5, criterion="taylor")
    masked = autoprune.mask(network, IMAGE, 0.5, criterion="taylor", scope="global", data=load_data("digits"))
    weights = [p for p in autoprune.fold(masked).parameters() if p.ndim > 1]
    kept = sum(int(torch.count_nonzero(p)) for p in weights)
    assert kept == pytest.approx(sum(p.numel() for p in weights) / 2, abs=4)


def test_a_masked_model_learns_and_folds(network: nn.Module) -> None:
    masked = autoprune.mask(network, IMAGE, 0.8)
    before = shares(masked)
    optimizer = torch.optim.SGD(masked.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    inputs: Tensor = torch.randn(8, 1, 8, 8)
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(masked(inputs), torch.arange(8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert shares(masked) == before
    plain = autoprune.fold(masked)
    assert list(plain.state_dict()) == list(network.state_dict())
    assert torch.equal(plain(inputs), masked(inputs))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sparsity": 1.0}, PlanError, "at least 0 and below 1"),
        ({"sparsity": 0.0}, PlanError, "masks nothing"),
        ({"sparsity": {"9": 0.5}}, PlanError, "there is no group '9'"),
        ({"granularity": "channels"}, UserError, "use weights, N:M such as 2:4"),
        ({"granularity": "block:3x5"}, ModelError, "no weight can be masked by block:3x5"),
        ({"scope": "galactic"}, PlanError, "use 'local' or 'global'"),
    ],
)
def test_mistakes(
    network: nn.Module, settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        autoprune.mask(network, IMAGE, **settings)  # type: ignore[arg-type]
