from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.errors import UserError
from autoprune.structure.masks import Weight, parse_pattern
from autoprune.structure.masks.patterns import mask_of, ranks

GRANULARITIES = ["weights", "2:4", "1:4", "4:8", "block:2x4", "block:1x3", "kernels", "neurons"]


def weight(*shape: int, layer: str = "linear", kernel: int = 1, blocks: int = 0) -> Weight:
    return Weight("layer.weight", layer, shape, kernel, blocks)  # type: ignore[arg-type]


def mask(granularity: str, scores: Tensor, of: Weight, width: int) -> Tensor:
    pattern = parse_pattern(granularity)
    return mask_of(pattern, of, ranks(pattern.arrange(scores, of).sum(2)), width)


def test_single_weights_keep_the_largest() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    assert mask("weights", scores, weight(2, 3), 3).tolist() == [[True, False, False], [False, True, True]]


def test_two_of_four_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 8, generator=generator)
    kept = mask("2:4", scores, weight(3, 8), 2)
    for row, start in product(range(3), (0, 4)):
        part = scores[row, start : start + 4]
        best = max(
            product([False, True], repeat=4),
            key=lambda m: (sum(m) == 2) * float(part @ torch.tensor(m).float()),
        )
        assert kept[row, start : start + 4].tolist() == list(best)


def test_n_of_m_runs_over_the_flattened_inputs_of_a_convolution() -> None:
    scores = torch.arange(2 * 2 * 2 * 2, dtype=torch.float32).reshape(2, 2, 2, 2)
    kept = mask("1:4", scores, weight(2, 2, 2, 2, layer="convolution", kernel=4), 1)
    assert kept.reshape(2, 8).tolist() == [[False, False, False, True] * 2] * 2


def test_blocks_lie_on_the_matrix_of_outputs_by_inputs() -> None:
    scores = torch.zeros(4, 6)
    scores[0:2, 3:6] = 1.0
    scores[2:4, 0:3] = 2.0
    scores[0, 0] = 5.0
    kept = mask("block:2x3", scores, weight(4, 6), 2)
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[2:4, 0:3] = True
    expected[0:2, 3:6] = True
    assert torch.equal(kept, expected)


def test_a_block_of_one_by_three_is_a_row_of_a_kernel() -> None:
    scores = torch.zeros(2, 2, 3, 3)
    scores[1, 0, 2] = 1.0
    kept = mask("block:1x3", scores, weight(2, 2, 3, 3, layer="convolution", kernel=9), 1)
    assert torch.equal(kept, scores.bool())


def test_kernels_are_kept_whole() -> None:
    scores = torch.rand(3, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    kept = mask("kernels", scores, weight(3, 2, 3, 3, layer="convolution", kernel=9), 2)
    best = scores.sum((2, 3)).flatten().topk(2).indices
    assert sorted(best.tolist()) == kept[:, :, 0, 0].flatten().nonzero().flatten().tolist()
    assert torch.equal(kept, kept[:, :, :1, :1].expand_as(kept))


def test_neurons_are_rows() -> None:
    kept = mask("neurons", torch.tensor([[1.0, 1.0], [0.0, 9.0], [2.0, 0.5]]), weight(3, 2), 2)
    assert kept.tolist() == [[False, False], [True, True], [True, True]]


def test_of_equals_the_lower_index_goes_first() -> None:
    assert mask("weights", torch.ones(1, 4), weight(1, 4), 1).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_matrix_of_a_transposed_convolution_has_a_row_an_output(blocks: int) -> None:
    layer = torch.nn.ConvTranspose2d(4, 6, (1, 2), groups=blocks, bias=False)
    of = weight(*layer.weight.shape, layer="convolution", kernel=2, blocks=blocks)
    assert (of.rows, of.columns) == (6, 4 * 2 // blocks)
    matrix = of.matrix(layer.weight.detach())
    assert torch.equal(of.tensor(matrix), layer.weight)
    x = torch.zeros(1, 4, 1, 1)
    x[0, 3] = 1.0
    reached = layer(x)[0, :, 0].detach()
    own = matrix.reshape(6, 4 // blocks, 2)[:, -1]
    rows = slice(0, 6) if blocks == 1 else slice(3, 6)
    assert torch.equal(reached[rows], own[rows])


@pytest.mark.parametrize(
    ("granularity", "of", "says"),
    [
        ("2:4", weight(3, 6), "4 does not divide its 6 inputs"),
        ("block:2x4", weight(3, 8), "2x4 does not divide its 3x8 matrix"),
        ("block:3x8", weight(3, 8), "a single block"),
        ("kernels", weight(3, 8), "no kernels"),
        ("kernels", weight(1, 1, 3, 3, layer="convolution", kernel=9), "one kernel only"),
        ("neurons", weight(4, 2, 3, 3, layer="convolution", kernel=9), "no fully connected layer"),
        ("neurons", weight(1, 8), "one neuron only"),
        ("weights", weight(1, 1), "one entry only"),
    ],
)
def test_where_a_pattern_does_not_fit(granularity: str, of: Weight, says: str) -> None:
    assert says in parse_pattern(granularity).refusal(of)


@pytest.mark.parametrize("text", ["weight", "4:2", "0:4", "2:2", "block:4", "block:0x4", "units", "", "2:4 "])
def test_an_unknown_granularity_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="use weights, N:M such as 2:4"):
        parse_pattern(text)


@settings(deadline=None)
@given(st.sampled_from(GRANULARITIES), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99), st.data())
def test_every_mask_keeps_what_is_asked(
    granularity: str, rows: int, columns: int, seed: int, data: st.DataObject
) -> None:
    assert str(parse_pattern(granularity)) == granularity
    pattern = parse_pattern(granularity)
    layer, kernel = ("linear", 1) if granularity == "neurons" else ("convolution", 6)
    shape = (4 * rows, 24 * columns) if kernel == 1 else (4 * rows, 4 * columns, 2, 3)
    of = weight(*shape, layer=layer, kernel=kernel)
    assert pattern.refusal(of) == ""
    contests, units, entries = pattern.shape(of)
    assert contests * units * entries == of.size
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(pattern.restore(pattern.arrange(scores, of), of), scores)
    width = data.draw(st.integers(pattern.least, units))
    kept = mask(granularity, scores, of, width)
    assert kept.shape == shape
    each = pattern.arrange(kept, of)
    assert torch.equal(each, each[:, :, :1].expand_as(each))
    assert (each[:, :, 0].sum(1) == width).all()
    wider = mask(granularity, scores, of, min(units, width + 1))
    assert bool((wider | ~kept).all())
    pooled = pattern.arrange(scores, of).sum(2)
    lowest = pooled.masked_fill(~each[:, :, 0], torch.inf).amin(1)
    assert (pooled.masked_fill(each[:, :, 0], -torch.inf).amax(1) <= lowest).all()
