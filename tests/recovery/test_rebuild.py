import copy

import pytest
import torch
from reading_nets import Attending, Layers, Recurrent, images, least_squares, seeded
from torch import Tensor, nn
from torch.nn import functional

from autoprune.recovery import Compensator, Rebuilder, collect_moments, recalibrate
from autoprune.structure import Plan, Structure, apply, discover

SERIES = torch.randn(16, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def cut(structure: Structure) -> Plan:
    return Plan.of(structure, {g.name: tuple(range(0, g.width, 2)) for g in structure.groups})


def test_every_layer_gives_what_it_gave_from_what_now_comes_in() -> None:
    net = seeded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)))
    x = SERIES.flatten(0, 1)
    structure = discover(net, x[:2])
    plan = cut(structure)
    pruned = apply(net, plan, structure)
    moments = collect_moments(net, structure, [x])
    fitted = Rebuilder(net, structure, moments, x.split(32), ridge=1e-12)(pruned, plan)
    assert fitted == ("2.weight", "4.weight")
    layers = list(pruned)
    weight, bias = least_squares(torch.relu(layers[0](x)), net[:3](x)[:, ::2], intercept=True)
    torch.testing.assert_close(layers[2].weight.detach(), weight)
    torch.testing.assert_close(layers[2].bias.detach(), bias)
    inner = pruned[:4](x)
    weight, bias = least_squares(inner, net(x), intercept=True)
    torch.testing.assert_close(pruned(x), inner @ weight.T + bias)


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (Layers(), images()),
        (Layers(groups=2, padding=1), images()),
        (Attending(), SERIES),
        (Recurrent(num_layers=2, bidirectional=True), SERIES),
    ],
    ids=["plain", "grouped", "attention", "recurrent"],
)
def test_the_output_comes_closer(net: nn.Module, x: Tensor) -> None:
    net = seeded(net)
    structure = discover(net, x[:2])
    plan = cut(structure)
    moments = collect_moments(net, structure, [x])
    pruned = apply(net, plan, structure)
    Compensator(net, structure, moments)(pruned, plan)
    before = functional.mse_loss(pruned(x), net(x))
    fitted = Rebuilder(net, structure, moments, x.split(8))(pruned, plan)
    assert set(fitted) == {part.weight for part in moments.consumers}
    assert functional.mse_loss(pruned(x), net(x)) < before


def test_the_original_model_and_running_statistics_stay() -> None:
    net = seeded(
        nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(64, 2),
        )
    )
    x = images()
    recalibrate(net, [x])
    structure = discover(net, x[:2])
    plan = cut(structure)
    pruned = apply(net, plan, structure)
    before, statistics = copy.deepcopy(net.state_dict()), copy.deepcopy(dict(pruned.named_buffers()))
    Rebuilder(net, structure, collect_moments(net, structure, [x]), [x])(pruned, plan)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in pruned.named_buffers())


def test_a_shared_layer_called_less_often_is_passed_over() -> None:
    class Block(nn.Module):
        def __init__(self, inner: nn.Linear) -> None:
            super().__init__()
            self.inner, self.outer = inner, nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.outer(torch.relu(self.inner(x)))

    inner = nn.Linear(8, 6)
    net = seeded(nn.Sequential(nn.Linear(3, 8), Block(inner), Block(inner), nn.Linear(8, 4)))
    x = SERIES.flatten(0, 1)
    structure = discover(net, x[:2], depth=True)
    plan = Plan.of(structure, {"2": (), "0": (0, 1, 2, 3)})
    pruned = apply(net, plan, structure)
    fitted = Rebuilder(net, structure, collect_moments(net, structure, [x]), [x])(pruned, plan)
    assert fitted == ("1.outer.weight", "3.weight")


def test_a_layer_that_is_called_twice_is_fitted_to_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            return self.last(torch.relu(self.inner(torch.relu(self.inner(x)))))

    net = seeded(Twice())
    x = SERIES.flatten(0, 1)
    structure = discover(net, x[:2])
    plan = cut(structure)
    pruned = apply(net, plan, structure)
    moments = collect_moments(net, structure, [x])
    assert Rebuilder(net, structure, moments, [x], ridge=1e-12)(pruned, plan) == (
        "inner.weight",
        "last.weight",
    )

    kept = torch.arange(0, 8, 2)
    before = [torch.relu(net.first(x)), torch.relu(net.inner(torch.relu(net.first(x))))]
    # When the layer was fitted, its second call read what the layer gave that came from a mere cut.
    plain = apply(net, plan, structure)
    now = [torch.relu(plain.first(x)), torch.relu(plain.inner(torch.relu(plain.first(x))))]
    wanted = torch.cat([net.inner(z)[:, kept] for z in before])
    weight, bias = least_squares(torch.cat(now), wanted, intercept=True)
    torch.testing.assert_close(pruned.inner.weight.detach(), weight)
    torch.testing.assert_close(pruned.inner.bias.detach(), bias)


def test_batches_of_another_shape_are_left_out() -> None:
    net = seeded(Attending())
    structure = discover(net, SERIES[:2])
    plan = cut(structure)
    moments = collect_moments(net, structure, [SERIES])
    results = []
    for batches in ([SERIES], [SERIES, SERIES[:, :3]]):
        pruned = apply(net, plan, structure)
        Rebuilder(net, structure, moments, batches)(pruned, plan)
        results.append(pruned(SERIES))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_what_is_kept_of_the_inputs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    net = seeded(Layers())
    structure = discover(net, images()[:2])
    moments = collect_moments(net, structure, [images()])
    features = sum(part.mean.numel() for part in moments.consumers)
    monkeypatch.setattr("autoprune.recovery.reconstruction.layerwise.MOST_BYTES", 4 * 40 * features)
    plan = cut(structure)
    pruned = apply(net, plan, structure)
    rebuilder = Rebuilder(net, structure, moments, [images()])
    kept = [each.shape[1] for calls in rebuilder._before.values() for each in calls]
    assert 0 < max(kept) <= 40
    assert rebuilder(pruned, plan)


def test_of_large_inputs_the_first_batch_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    net = seeded(Layers())
    structure = discover(net, images()[:2])
    moments, plan = collect_moments(net, structure, [images()]), cut(structure)
    monkeypatch.setattr("autoprune.recovery.reconstruction.layerwise.MOST_INPUT_BYTES", 0)
    first, *rest = images().split(8)
    results = []
    for batches in ([first, *rest], [first]):
        pruned = apply(net, plan, structure)
        Rebuilder(net, structure, moments, batches)(pruned, plan)
        results.append(pruned(images()))
    assert rest
    torch.testing.assert_close(*results, rtol=0, atol=0)
