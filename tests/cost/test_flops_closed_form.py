from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from autoprune.cost import CostModel, Term, operation_terms, uncounted
from autoprune.structure.groups import Extent, Operation, Structure

Trace = Callable[[nn.Module, tuple[Tensor, ...]], Structure]


class Call(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.children_used = nn.ModuleList(children)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*self.children_used, *inputs)


def rand(*shape: int) -> Tensor:
    return torch.rand(shape)


def fvcore_analysis(model: nn.Module, inputs: tuple[Tensor, ...]) -> FlopCountAnalysis:
    analysis = FlopCountAnalysis(model.eval(), inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return analysis


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


OPERATORS: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "conv1d": (nn.Conv1d(6, 4, 3, groups=2), (rand(2, 6, 9),)),
    "conv2d": (nn.Conv2d(6, 9, (3, 2), stride=2, padding=1), (rand(3, 6, 8, 7),)),
    "conv2d_unbatched": (nn.Conv2d(6, 9, 3), (rand(6, 8, 7),)),
    "conv2d_grouped": (nn.Conv2d(6, 9, 3, groups=3), (rand(2, 6, 8, 7),)),
    "conv2d_depthwise": (nn.Conv2d(6, 12, 3, groups=6), (rand(2, 6, 8, 7),)),
    "conv2d_reflect": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), (rand(2, 6, 8, 7),)),
    "conv3d": (nn.Conv3d(2, 4, 3), (rand(2, 2, 5, 4, 6),)),
    "conv_transpose1d": (nn.ConvTranspose1d(6, 4, 3, stride=2), (rand(2, 6, 5),)),
    "conv_transpose2d": (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), (rand(2, 6, 5, 4),)),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 4, 2), (rand(2, 2, 3, 4, 3),)),
    "linear": (nn.Linear(5, 7), (rand(3, 5),)),
    "linear_sequence": (nn.Linear(5, 7, bias=False), (rand(2, 3, 5),)),
    "linear_vector": (nn.Linear(5, 7), (rand(5),)),
    "matmul": (Call(torch.matmul), (rand(2, 3, 4, 5), rand(2, 3, 5, 6))),
    "matmul_broadcast": (Call(torch.matmul), (rand(4, 5), rand(2, 5, 3))),
    "mm": (Call(torch.mm), (rand(4, 5), rand(5, 3))),
    "bmm": (Call(torch.bmm), (rand(2, 4, 5), rand(2, 5, 3))),
    "addmm": (Call(torch.addmm), (rand(3), rand(4, 5), rand(5, 3))),
    "batch_norm": (nn.BatchNorm2d(6), (rand(2, 6, 5, 4),)),
    "batch_norm_plain": (nn.BatchNorm2d(6, affine=False), (rand(2, 6, 5, 4),)),
    "batch_norm_of_batch": (
        nn.BatchNorm2d(6, affine=False, track_running_stats=False),
        (rand(2, 6, 5, 4),),
    ),
    "layer_norm": (nn.LayerNorm(4), (rand(2, 6, 4),)),
    "layer_norm_no_bias": (nn.LayerNorm(4, bias=False), (rand(2, 6, 4),)),
    "layer_norm_plain": (nn.LayerNorm(4, elementwise_affine=False), (rand(2, 6, 4),)),
    "group_norm": (nn.GroupNorm(2, 6), (rand(2, 6, 5, 4),)),
    "group_norm_plain": (nn.GroupNorm(2, 6, affine=False), (rand(2, 6, 5, 4),)),
    "instance_norm": (nn.InstanceNorm2d(6, affine=True), (rand(2, 6, 5, 4),)),
    "instance_norm_plain": (nn.InstanceNorm2d(6), (rand(2, 6, 5, 4),)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d(2), (rand(2, 6, 5, 4),)),
    "upsample_nearest": (nn.Upsample(scale_factor=2), (rand(2, 6, 5, 4),)),
    "upsample_bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), (rand(2, 6, 5, 4),)),
    "grid_sampler": (
        Call(lambda x, grid: F.grid_sample(x, grid, align_corners=False)),
        (rand(2, 6, 5, 4), rand(2, 3, 3, 2)),
    ),
    "attention": (Call(lambda m, x: m(x, x, x)[0], nn.MultiheadAttention(8, 2)), (rand(3, 2, 8),)),
    "einsum": (Call(lambda x, y: torch.einsum("bij,bjk->bik", x, y)), (rand(2, 4, 5), rand(2, 5, 3))),
    "einsum_heads": (
        Call(lambda q, k: torch.einsum("... H I D, ... H J D -> ... H I J", q, k)),
        (rand(2, 3, 4, 5), rand(2, 3, 6, 5)),
    ),
    "einsum_weight": (Call(lambda x, w: torch.einsum("bnd,dhk->bnhk", x, w)), (rand(2, 3, 4), rand(4, 2, 5))),
    "convnet": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(8, 5),
        ),
        (rand(2, 3, 6, 6),),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_counts_as_fvcore(name: str, traced: Trace) -> None:
    model, inputs = OPERATORS[name]
    expected = fvcore_analysis(model, inputs).total()
    assert expected > 0
    assert CostModel.of(traced(model, inputs), model).flops({}) == expected


@pytest.mark.parametrize(
    ("model", "inputs", "kind"),
    [
        (nn.RMSNorm(6), (rand(2, 6),), "rms_norm"),
        (nn.MaxPool2d(2), (rand(1, 2, 4, 4),), "max_pool2d"),
        (nn.AdaptiveAvgPool1d(2), (rand(1, 2, 4),), "adaptive_avg_pool1d"),
    ],
)
def test_reports_what_fvcore_does_not_support(
    model: nn.Module, inputs: tuple[Tensor, ...], kind: str, traced: Trace
) -> None:
    structure = traced(model, inputs)
    assert uncounted(structure) == {kind: 1}
    assert CostModel.of(structure, model).flops({}) == 0
    analysis = fvcore_analysis(model, inputs)
    assert analysis.total() == 0
    assert dict(analysis.unsupported_ops()) == {f"aten::{kind}": 1}


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1) @ v


@pytest.mark.parametrize("shapes", [((2, 3, 4),) * 3, ((2, 6, 3, 4), (2, 6, 5, 4), (2, 6, 5, 7))])
def test_fused_attention_counts_as_the_same_attention_written_out(
    shapes: tuple[tuple[int, ...], ...], traced: Trace
) -> None:
    inputs = tuple(rand(*shape) for shape in shapes)
    expected = fvcore_analysis(Call(attend), inputs).total()
    fused = Call(F.scaled_dot_product_attention)
    assert CostModel.of(traced(fused, inputs), fused).flops({}) == expected
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    pair = (rand(2, 3, 8),)
    counted = fvcore_analysis(layer, pair).total()
    assert CostModel.of(traced(layer, pair), layer).flops({}) == counted + 2 * (2 * 2 * 3 * 3 * 4)


def test_shared_keys_count_for_every_head_of_the_query(traced: Trace) -> None:
    model = Call(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    inputs = (rand(2, 6, 3, 4), rand(2, 2, 5, 4), rand(2, 2, 5, 7))
    assert CostModel.of(traced(model, inputs), model).flops({}) == 2 * 6 * 3 * 5 * (4 + 7)


def test_a_product_added_to_something_counts_as_the_product(traced: Trace) -> None:
    model = Call(torch.baddbmm)
    inputs = (rand(2, 4, 3), rand(2, 4, 5), rand(2, 5, 3))
    assert CostModel.of(traced(model, inputs), model).flops({}) == 2 * 4 * 5 * 3


def test_an_einsum_that_sums_nothing_is_pointwise(traced: Trace) -> None:
    model = Call(lambda x, y: torch.einsum("bi,bj->bij", x, y))
    assert CostModel.of(traced(model, (rand(2, 4), rand(2, 3))), model).flops({}) == 0


def test_free_operators_are_not_reported(traced: Trace) -> None:
    model = Call(lambda x: torch.cat([x.transpose(0, 1).reshape(4, 3), x.view(4, 3)[:2].relu()], 0).clone())
    structure = traced(model, (rand(3, 4),))
    assert len(structure.operations) > 5
    assert uncounted(structure) == {}


def test_same_operator_twice_is_reported_twice(traced: Trace) -> None:
    structure = traced(Call(lambda x: x.exp().exp() + 1), (rand(3),))
    assert uncounted(structure) == {"exp": 2, "add": 1}


def test_terms_keep_symbolic_extents() -> None:
    produced, consumed = Extent(0, (("a", 1),)), Extent(0, (("b", 2),))
    batch, length = Extent(1), Extent(8)
    weight = (produced, consumed, Extent(3), Extent(3))
    operation = Operation(
        "conv2d", ((batch, consumed, length, length), weight), (batch, produced, length, length)
    )
    assert operation_terms(operation) == (Term(1, (batch, length, length, *weight)),)


def test_matrix_times_vector_counts_every_product() -> None:
    matrix, vector = (Extent(4), Extent(5)), (Extent(5),)
    assert operation_terms(Operation("matmul", (matrix, vector), (Extent(4),))) == (Term(1, matrix),)
