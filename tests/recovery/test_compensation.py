import copy

import pytest
import torch
from reading_nets import Attending, Layers, Recurrent, Widening, images, least_squares, seeded
from torch import Tensor, nn
from torch.nn import functional

from autoprune.recovery import Compensator, collect_moments, recalibrate
from autoprune.structure import Plan, Structure, apply, discover

RIDGE = 1e-12
"""Small enough to give the least-squares solution to many digits."""
SERIES = torch.randn(16, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def compensated(
    net: nn.Module, x: Tensor, keep: dict[str, tuple[int, ...]], ridge: float = RIDGE, **options: int
) -> tuple[nn.Module, tuple[str, ...]]:
    structure = discover(net, x[:2])
    moments = collect_moments(net, structure, [x], most_samples=10**6, **options)
    plan = Plan.of(structure, keep)
    pruned = apply(net, plan, structure)
    return pruned, Compensator(net, structure, moments, ridge=ridge)(pruned, plan)


def test_linear_layers_with_a_bias_are_fitted_with_an_intercept() -> None:
    net = seeded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)))
    x = SERIES.flatten(0, 1)
    pruned, fitted = compensated(net, x, {"0": (0, 2, 3, 6)})
    assert fitted == ("2.weight",)
    inner = torch.relu(net[0](x))
    weight, bias = least_squares(inner[:, [0, 2, 3, 6]], net(x), intercept=True)
    torch.testing.assert_close(pruned[2].weight.detach(), weight)
    torch.testing.assert_close(pruned[2].bias.detach(), bias)


def test_convolutions_without_a_bias_are_fitted_without() -> None:
    net, x = seeded(Layers(padding=1)), images()
    pruned, fitted = compensated(net, x, {"first": (1, 4, 5), "second": (0, 2, 4, 5)})
    assert fitted == ("second.weight", "head.weight")
    hidden = torch.relu(net.first(x))
    columns = functional.unfold(hidden[:, [1, 4, 5]], 3, padding=1).transpose(1, 2).flatten(0, 1)
    targets = net.second(hidden)[:, [0, 2, 4, 5]].flatten(2).transpose(1, 2).flatten(0, 1)
    weight, _ = least_squares(columns, targets, intercept=False)
    torch.testing.assert_close(pruned.second.weight.detach().flatten(1), weight)


def test_by_position_removed_channels_are_predicted_from_kept_ones() -> None:
    net, x = seeded(Layers()), images()
    pruned, _ = compensated(net, x, {"first": (1, 4, 5)}, most_features=0)
    flat = torch.relu(net.first(x)).transpose(0, 1).flatten(1).T
    kept, gone = [1, 4, 5], [0, 2, 3, 6, 7]
    prediction, _ = least_squares(flat[:, kept], flat[:, gone], intercept=False)
    weight = net.second.weight.detach()
    expected = weight[:, kept] + torch.einsum("opxy,pk->okxy", weight[:, gone], prediction)
    torch.testing.assert_close(pruned.second.weight.detach(), expected)


def test_transposed_convolutions() -> None:
    net, x = seeded(Widening()), images()
    pruned, fitted = compensated(net, x, {"down": (1, 4, 5)})
    assert fitted == ("up.weight",)
    hidden = torch.relu(net.down(x))
    flat = hidden[:, [1, 4, 5]].transpose(0, 1).flatten(1).T
    targets = functional.conv_transpose2d(hidden, net.up.weight, stride=2)
    # Every position gives a patch of its own: [N, 5, H, 2, W, 2] to rows of 5 * 4.
    patches = targets.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    weight, _ = least_squares(flat, patches.flatten(0, 2), intercept=False)
    torch.testing.assert_close(pruned.up.weight.detach().flatten(1), weight.T)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: type[nn.RNNBase]) -> None:
    net = seeded(Recurrent(kind, num_layers=2))
    kept = (0, 2, 3, 5)
    pruned, fitted = compensated(net, SERIES, {"rnn": kept})
    assert fitted == ("rnn.weight_hh_l0", "rnn.weight_ih_l1")
    lower = seeded(Recurrent(kind)).rnn
    lower.load_state_dict({k: v for k, v in net.rnn.state_dict().items() if k.endswith("_l0")})
    steps = lower(SERIES)[0]
    before = functional.pad(steps, (0, 0, 1, 0))[:, :-1]
    for name, inputs in (("ih_l1", steps), ("hh_l0", before)):
        weight, bias = (getattr(net.rnn, f"{part}_{name}") for part in ("weight", "bias"))
        expected = least_squares(
            inputs[..., list(kept)].flatten(0, 1), functional.linear(inputs, weight, bias).flatten(0, 1), True
        )
        rows = slice(None) if name == "ih_l1" else [g * 6 + u for g in range(len(weight) // 6) for u in kept]
        torch.testing.assert_close(getattr(pruned.rnn, f"weight_{name}").detach(), expected[0][rows])
        torch.testing.assert_close(getattr(pruned.rnn, f"bias_{name}").detach(), expected[1][rows])


def test_an_input_that_another_one_repeats_is_not_missed() -> None:
    net, x = seeded(Layers(groups=2)), images()
    with torch.no_grad():
        for half in (0, 4):
            net.first.weight[half + 1] = net.first.weight[half]
            net.first.bias[half + 1] = net.first.bias[half]
        net.second.weight[4] = 2 * net.second.weight[3]
    pruned, _ = compensated(net, x, {"first": (0, 2, 3)})
    torch.testing.assert_close(pruned(x), net(x), rtol=0, atol=1e-7)


def test_a_head_that_another_one_repeats_is_not_missed() -> None:
    net = seeded(Attending())
    with torch.no_grad():
        for rows in range(0, 24, 8):
            net.attention.in_proj_weight[rows + 2 : rows + 4] = net.attention.in_proj_weight[rows : rows + 2]
            net.attention.in_proj_bias[rows + 2 : rows + 4] = net.attention.in_proj_bias[rows : rows + 2]
    pruned, fitted = compensated(net, SERIES, {"attention": (0, 2, 3)})
    assert fitted == ("attention.out_proj.weight",)
    torch.testing.assert_close(pruned(SERIES), net(SERIES), rtol=0, atol=1e-7)


class Joining(nn.Module):
    """One layer reads the units of two groups, one of which two layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.mix = nn.Conv2d(12, 5, 1)
        self.other = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.relu(self.left(x)), torch.relu(self.right(x))
        return self.mix(torch.cat([left, right], 1)) + self.other(left)


def test_a_layer_that_reads_several_groups_is_fitted_to_what_is_left_of_all() -> None:
    net, x = seeded(Joining()), images()
    pruned, fitted = compensated(net, x, {"left": (0, 1, 4), "right": (2, 5)})
    assert set(fitted) == {"mix.weight", "other.weight"}
    both = torch.cat([torch.relu(net.left(x))[:, [0, 1, 4]], torch.relu(net.right(x))[:, [2, 5]]], 1)
    targets = net.mix(torch.cat([torch.relu(net.left(x)), torch.relu(net.right(x))], 1))
    weight, bias = least_squares(*(part.transpose(0, 1).flatten(1).T for part in (both, targets)), True)
    torch.testing.assert_close(pruned.mix.weight.detach().flatten(1), weight)
    torch.testing.assert_close(pruned.mix.bias.detach(), bias)


@pytest.mark.parametrize(
    "net", [Layers(), Layers(groups=2), Joining(), Widening()], ids=lambda n: type(n).__name__
)
@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1.0])
def test_one_cut_never_costs_more_than_without(net: nn.Module, ridge: float) -> None:
    net, x = seeded(net), images()
    structure = discover(net, x[:2])
    group = structure.groups[0]
    keep = {group.name: tuple(range(0, group.width, 2))}
    pruned, (weight, *_) = compensated(net, x, keep, ridge)
    plain = apply(net, Plan.of(structure, keep), structure)
    reader = weight.rpartition(".")[0]
    outputs: dict[nn.Module, Tensor] = {}
    for model in (net, plain, pruned):
        layer = model.get_submodule(reader)
        handle = layer.register_forward_hook(
            lambda _, __, output, key=model: outputs.__setitem__(key, output)
        )
        model(x)
        handle.remove()
    lost, without = ((outputs[model] - outputs[net]).square().mean() for model in (pruned, plain))
    assert lost < without


def test_dead_and_repeated_inputs_are_safe() -> None:
    net = seeded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))).float()
    with torch.no_grad():
        net[0].weight[:4] = 0
        net[0].bias[:4] = -1
        net[0].weight[5], net[0].bias[5] = net[0].weight[4], net[0].bias[4]
    x = SERIES.flatten(0, 1).float()
    for ridge in (0.0, 1e-3):
        pruned, _ = compensated(net, x, {"0": (0, 1, 4, 5)}, ridge)
        assert torch.equal(pruned[2].weight[:, :2], net[2].weight[:, :2])
        assert bool(pruned[2].weight.isfinite().all())
    only_dead, _ = compensated(net, x, {"0": (0, 1)})
    assert torch.equal(only_dead[2].weight, net[2].weight[:, :2])
    # All that dead inputs can be given is the average of what is lost.
    torch.testing.assert_close(only_dead(x)[0], net(x).mean(0))


def test_the_original_model_keeps_its_own_tensors() -> None:
    net, x = seeded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))), SERIES.flatten(0, 1)
    before = copy.deepcopy(net.state_dict())
    structure = discover(net, x)
    compensator = Compensator(net, structure, collect_moments(net, structure, [x]))
    plan = Plan.of(structure, {"0": (0, 5)})
    for share in (False, True):
        pruned = apply(net, plan, structure, share=share)
        compensator(pruned, plan)
        assert not torch.equal(pruned[2].bias, net[2].bias)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_equal_plans_give_equal_weights_however_often() -> None:
    net, x = seeded(Layers()), images()
    structure = discover(net, x[:2])
    compensator = Compensator(net, structure, collect_moments(net, structure, [x]))
    plan = Plan.of(structure, {"first": (0, 1, 5), "second": (0, 3)})

    def weights(times: int) -> dict[str, Tensor]:
        pruned = apply(net, plan, structure)
        for _ in range(times):
            compensator(pruned, plan)
        return pruned.state_dict()

    first, again = weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)


def cut_in_half(structure: Structure) -> Plan:
    return Plan.of(structure, {g.name: tuple(range(0, g.width, 2)) for g in structure.groups})


def test_batch_normalisation_takes_up_the_shift() -> None:
    net = seeded(
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6))
    )
    x = images() + 1
    recalibrate(net, [x])
    structure = discover(net, x[:2])
    plan = cut_in_half(structure)
    pruned = apply(net, plan, structure)
    Compensator(net, structure, collect_moments(net, structure, [x]), ridge=RIDGE)(pruned, plan)
    flat = torch.relu(net[0](x)).transpose(0, 1).flatten(1).T
    weight, _ = least_squares(flat[:, ::2], flat @ net[2].weight.detach().flatten(1).T, intercept=True)
    torch.testing.assert_close(pruned[2].weight.detach().flatten(1), weight)


def test_blocks_that_are_gone_are_passed_over() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(8, 6), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.outer(torch.relu(self.inner(x)))

    net, x = seeded(nn.Sequential(nn.Linear(3, 8), Block(), Block(), nn.Linear(8, 4))), SERIES.flatten(0, 1)
    structure = discover(net, x[:2], depth=True)
    plan = Plan.of(structure, {"1": (), "0": (0, 1, 2, 3, 4), "2.inner": (0, 1, 2)})
    pruned = apply(net, plan, structure)
    fitted = Compensator(net, structure, collect_moments(net, structure, [x]))(pruned, plan)
    assert fitted == ("2.inner.weight", "2.outer.weight", "3.weight")
    assert bool(pruned(x).isfinite().all())
