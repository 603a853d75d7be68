"""The slim forms of attention modules compute what the original classes compute."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from autoprune.structure.surgery.slim import SlimMultiheadAttention, slim

LENGTH, KEYS, BATCH = 5, 7, 3


def slimmed(module: nn.Module) -> nn.Module:
    pruned = copy.deepcopy(module)
    slim(pruned)
    assert type(pruned) is not type(module)
    assert list(pruned.state_dict()) == list(module.state_dict())
    return pruned


def multihead(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **settings).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def cross_inputs(module: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    def draw(length: int, width: int) -> Tensor:
        shape = (BATCH, length, width) if module.batch_first else (length, BATCH, width)
        return torch.randn(shape, dtype=torch.float64)

    return draw(LENGTH, 8), draw(KEYS, module.kdim), draw(KEYS, module.vdim)


def compare(module: nn.MultiheadAttention, *args: Any, **kwargs: Any) -> None:
    expected, ours = module(*args, **kwargs), slimmed(module)(*args, **kwargs)
    torch.testing.assert_close(ours[0], expected[0], equal_nan=True)
    assert (ours[1] is None) == (expected[1] is None)
    if expected[1] is not None:
        torch.testing.assert_close(ours[1], expected[1], equal_nan=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"kdim": 6},
        {"vdim": 4, "kdim": 6, "add_bias_kv": True},
        {"add_bias_kv": True, "add_zero_attn": True},
        {"add_zero_attn": True, "bias": False},
    ],
)
@pytest.mark.parametrize(
    ("batch_first", "weights", "train"), list(itertools.product([True, False], [True, False], [True, False]))
)
def test_projections_and_extra_positions(
    settings: dict[str, Any], batch_first: bool, weights: bool, train: bool
) -> None:
    module = multihead(batch_first=batch_first, **settings).train(train)
    compare(module, *cross_inputs(module), need_weights=weights)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    ("mask", "padded"),
    # Masks of two types at once are deprecated.
    [
        (None, "bool"),
        (None, "float"),
        ("bool", None),
        ("bool", "bool"),
        ("float", None),
        ("float", "float"),
        ("per_head", None),
        ("per_head", "float"),
    ],
)
@pytest.mark.parametrize("extra", [False, True])
def test_masks(mask: str | None, padded: str | None, weights: bool, extra: bool) -> None:
    module = multihead(batch_first=True, add_zero_attn=extra, add_bias_kv=extra)
    shape = (BATCH * 2, LENGTH, KEYS) if mask == "per_head" else (LENGTH, KEYS)
    attention = torch.randn(shape, dtype=torch.float64)
    padding = torch.randn(BATCH, KEYS, dtype=torch.float64)
    masks = {
        "attn_mask": None if mask is None else attention > 0.5 if mask == "bool" else attention,
        "key_padding_mask": None if padded is None else padding > 0.5 if padded == "bool" else padding,
    }
    compare(module, *cross_inputs(module), need_weights=weights, **masks)


def test_weights_of_every_head_and_unbatched_input() -> None:
    module = multihead()
    query, key, value = cross_inputs(module)
    compare(module, query, key, value, average_attn_weights=False)
    for weights in (True, False):
        compare(module, query[:, 0], key[:, 0], value[:, 0], need_weights=weights)
    padding = torch.zeros(KEYS, dtype=torch.bool).index_fill_(0, torch.tensor([1, 4]), True)
    compare(module, query[:, 0], key[:, 0], value[:, 0], key_padding_mask=padding)


@pytest.mark.parametrize("weights", [True, False])
def test_causal_hint(weights: bool) -> None:
    module = multihead(batch_first=True)
    x = torch.randn(BATCH, LENGTH, 8, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.float64)
    compare(module, x, x, x, attn_mask=mask, is_causal=True, need_weights=weights)
    with pytest.raises(RuntimeError, match="pass the mask"):
        slimmed(module)(x, x, x, is_causal=True)


def test_dropout_drops_weights_in_training_only() -> None:
    module = slimmed(multihead(dropout=0.5, batch_first=True))
    assert isinstance(module, SlimMultiheadAttention)
    x = torch.randn(BATCH, LENGTH, 8, dtype=torch.float64)
    torch.testing.assert_close(module.eval()(x, x, x)[0], module(x, x, x)[0])
    first, weights = module.train()(x, x, x, average_attn_weights=False)
    assert 0.3 < (weights == 0).double().mean() < 0.7
    assert not torch.equal(first, module(x, x, x)[0])
    assert not torch.equal(module(x, x, x, need_weights=False)[0], module(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize("kind", [ShiftedWindowAttention, ShiftedWindowAttentionV2])
@pytest.mark.parametrize("shift", [[0, 0], [1, 2], [0, 1]])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (3, 8), (2, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_shifted_windows(
    kind: type[ShiftedWindowAttention], shift: list[int], size: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    module = kind(8, [4, 3], shift, 2, qkv_bias=bias).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    torch.testing.assert_close(slimmed(module)(x), module(x))


def test_relative_positions() -> None:
    torch.manual_seed(0)
    module = RelativePositionalMultiHeadAttention(12, 4, 9).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(slimmed(module)(x), module(x))


def test_other_classes_stay_what_they_are() -> None:
    class Own(nn.MultiheadAttention):
        pass

    for module in (Own(8, 2), nn.Linear(2, 2)):
        kind = type(module)
        slim(module)
        assert type(module) is kind
