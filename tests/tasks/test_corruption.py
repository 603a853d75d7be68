import pytest
import torch

from autoprune.errors import DataError
from autoprune.tasks import TensorSplit
from autoprune.tasks.corruption import CorruptedSplit, Corruption, parse_corruption


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_gaussian_noise_has_its_deviation():
    inputs = torch.full((50, 3, 20, 20), 2.0)
    added = parse_corruption("gaussian:0.3").applied(inputs, drawn()) - inputs
    assert float(added.std()) == pytest.approx(0.3, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=0.01)


def test_salt_and_pepper_sets_a_share_of_the_pixels_to_the_extremes_in_all_channels():
    inputs = torch.rand(20, 3, 30, 30, generator=drawn(1))
    noisy = Corruption("salt-and-pepper", 0.2).applied(inputs, drawn())
    low, high = inputs.flatten(1).amin(1).view(-1, 1, 1, 1), inputs.flatten(1).amax(1).view(-1, 1, 1, 1)
    pepper, salt = (noisy == low).all(1), (noisy == high).all(1)
    assert float(pepper.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(salt.float().mean()) == pytest.approx(0.1, abs=0.01)
    untouched = ~(pepper | salt)[:, None].expand_as(noisy)
    assert torch.equal(noisy[untouched], inputs[untouched])


def test_split_is_noisy_in_the_same_way_on_every_pass():
    split = TensorSplit(torch.randn(10, 4), torch.arange(10))
    noisy = CorruptedSplit(split, Corruption("gaussian", 1.0))
    first, again = (torch.cat([x for x, _ in noisy.batches(4)]) for _ in range(2))
    assert len(noisy) == 10
    assert torch.equal(first, again)
    assert not torch.equal(first, split.inputs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian", "write gaussian:0.1"),
        ("gaussian:much", "write gaussian:0.1"),
        ("poisson:1", "unknown noise 'poisson': use gaussian or salt-and-pepper"),
        ("gaussian:-1", "give a number above 0"),
        ("salt-and-pepper:1.5", "at most 1"),
    ],
)
def test_text_that_cannot_be_read(text, message):
    with pytest.raises(DataError, match=message):
        parse_corruption(text)


def test_text_comes_back():
    assert str(parse_corruption("salt-and-pepper:0.05")) == "salt-and-pepper:0.05"


def test_symbols_take_no_noise():
    with pytest.raises(DataError, match="needs floating-point inputs"):
        Corruption("gaussian", 0.1).applied(torch.zeros(2, 3, dtype=torch.int64), drawn())
