import pytest
import torch
from reading_nets import Attending, Layers, Raw, Recurrent, Tied, Widening, images, seeded
from torch import Tensor, nn
from torch.nn import functional

from autoprune.recovery import Moments, collect_moments
from autoprune.recovery.reconstruction.input_moments import Consumer
from autoprune.structure import discover

SERIES = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def consumer(moments: Moments, weight: str) -> Consumer:
    (found,) = (part for part in moments.consumers if part.weight == weight)
    return found


def expect(found: Consumer, samples: Tensor) -> None:
    """`samples` ``[groups, n, d]``."""
    assert found.second.dtype == found.mean.dtype == torch.float64
    assert found.samples == samples.shape[1]
    torch.testing.assert_close(found.mean, samples.mean(1))
    torch.testing.assert_close(found.second, samples.transpose(1, 2) @ samples / samples.shape[1])


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}])
def test_of_convolutions_and_linear_layers(options: dict[str, int]) -> None:
    net, x = seeded(Layers(**options)), images()
    moments = collect_moments(net, discover(net, x), x.split(10), most_samples=10**6)
    assert moments.left_out == {}
    hidden = torch.relu(net.first(x))
    groups = net.second.groups
    window = {key: value for key, value in options.items() if key != "groups"}
    columns = functional.unfold(hidden, 3, **window).unflatten(1, (groups, -1))
    expect(consumer(moments, "second.weight"), columns.permute(1, 0, 3, 2).flatten(1, 2))
    expect(consumer(moments, "head.weight"), torch.relu(net.second(hidden)).mean((2, 3)).unsqueeze(0))
    by_position = collect_moments(net, discover(net, x), [x], most_samples=10**6, most_features=0)
    channels = hidden.flatten(2).unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
    expect(consumer(by_position, "second.weight"), channels)


def test_of_one_dimension_with_padding_to_the_same_length() -> None:
    net = seeded(nn.Sequential(nn.Conv1d(3, 6, 1), nn.Conv1d(6, 4, 4, padding="same"), nn.Conv1d(4, 2, 1)))
    x = images(4, 3)[:, :, 0]
    found = consumer(collect_moments(net, discover(net, x), [x]), "1.weight")
    columns = functional.pad(net[0](x), (1, 2)).unfold(2, 4, 1)
    expect(found, columns.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).unsqueeze(0))


def test_large_inputs_are_sampled_and_wide_kernels_seen_by_position() -> None:
    net, x = seeded(Layers()).float(), images().float()
    structure = discover(net, x)
    first, again = (
        collect_moments(net, structure, x.split(16), most_samples=64, most_features=71) for _ in range(2)
    )
    for one, other in zip(first.consumers, again.consumers, strict=True):
        assert one.samples <= 2 * 64
        assert one.second.dtype == torch.float64
        assert torch.equal(one.second, other.second)
    assert consumer(first, "second.weight").second.shape == (1, 8, 8)


def test_of_recurrent_layers_in_both_directions() -> None:
    net = seeded(Recurrent(num_layers=2, bidirectional=True))
    moments = collect_moments(net, discover(net, SERIES), [SERIES])
    names = [part.weight for part in moments.consumers]
    assert len(names) == len(set(names)) == 7
    lower = seeded(Recurrent(bidirectional=True)).rnn
    lower.load_state_dict({k: v for k, v in net.rnn.state_dict().items() if "_l0" in k})
    forward, backward = lower(SERIES)[0].chunk(2, -1)
    zeros = torch.zeros_like(forward[:, :1])
    expect(
        consumer(moments, "rnn.weight_ih_l1_reverse"), torch.cat([forward, backward], 2).flatten(0, 1)[None]
    )
    expect(consumer(moments, "rnn.weight_hh_l0"), torch.cat([zeros, forward[:, :-1]], 1).flatten(0, 1)[None])
    later = torch.cat([backward[:, 1:], zeros], 1)
    expect(consumer(moments, "rnn.weight_hh_l0_reverse"), later.flatten(0, 1)[None])
    assert consumer(moments, "rnn.weight_hh_l0").bias == "rnn.bias_hh_l0"


def test_of_attention() -> None:
    net = seeded(Attending())
    moments = collect_moments(net, discover(net, SERIES), [SERIES])
    assert moments.left_out == {}
    assert [part.weight for part in moments.consumers] == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "head.weight",
    ]
    expect(moments.consumers[0], net.embed(SERIES).flatten(0, 1)[None])


def test_every_reader_that_is_left_out_has_its_reason() -> None:
    tied = seeded(Tied())
    symbols = torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(0))
    moments = collect_moments(tied, discover(tied, symbols), [symbols])
    assert moments.left_out == {"embedding.weight": "the same axis of it makes units"}
    raw = seeded(Raw())
    moments = collect_moments(raw, discover(raw, SERIES), [SERIES])
    assert moments.left_out == {"matrix": "used by matmul"}
    projected = seeded(Recurrent(proj_size=4))
    projected.head = seeded(nn.Linear(4, 5))
    moments = collect_moments(projected, discover(projected, SERIES), [SERIES])
    assert list(moments.left_out) == ["rnn.weight_hr_l0"]


def test_a_shift_that_nothing_can_make_up_for_is_not_taken_out() -> None:
    net, x = seeded(Layers()), images()
    assert [part.centred for part in collect_moments(net, discover(net, x), [x]).consumers] == [False, True]
    followed = seeded(
        nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)
        )
    )
    second = collect_moments(followed, discover(followed, x), [x]).consumers[0]
    assert second.bias is None
    assert second.normalised
    assert second.centred


def test_the_model_is_left_as_it_was_and_data_is_read_once() -> None:
    net, x = seeded(Widening()).train(), images()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    moments = collect_moments(net, discover(net, x), iter(x.split(8)))
    assert moments.consumers[0].samples == 32 * 4 * 4
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
