from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoprune.cost import CostModel, MaskCostModel
from autoprune.cost.encodings import encodings, smallest
from autoprune.criteria import score_masks
from autoprune.errors import PlanError
from autoprune.structure import discover
from autoprune.structure.masks import MaskGroup, Weight, discover_masks, parse_pattern, zeroed
from autoprune.tasks.zoo import digits_resnet

IMAGE = torch.zeros(1, 1, 8, 8)


def group(granularity: str, *shape: int, kernel: int = 1) -> MaskGroup:
    weight = Weight("layer.weight", "convolution" if kernel > 1 else "linear", shape, kernel)
    return MaskGroup("layer", weight, parse_pattern(granularity), 1)


@pytest.mark.parametrize(
    ("of", "width", "expected"),
    [
        (group("weights", 10, 20), 30, {"dense": 800, "bitmap": 25 + 120, "csr": 11 * 4 + 30 * 2 + 120}),
        (group("weights", 2, 70000), 10, {"dense": 560000, "bitmap": 17500 + 40, "csr": 3 * 4 + 10 * 4 + 40}),
        (group("2:4", 10, 20), 2, {"dense": 800, "bitmap": 25 + 400, "csr": 44 + 200 + 400, "n:m": 25 + 400}),
        (group("1:4", 10, 20), 1, {"dense": 800, "bitmap": 25 + 200, "csr": 44 + 100 + 200, "n:m": 13 + 200}),
        (group("2:4", 10, 20), 4, {"dense": 800, "bitmap": 25 + 800, "csr": 44 + 400 + 800}),
        (group("block:2x4", 10, 20), 5, {"dense": 800, "bitmap": 4 + 160, "csr": 6 * 4 + 10 + 160}),
        (
            group("kernels", 10, 4, 3, 3, kernel=9),
            7,
            {"dense": 1440, "bitmap": 5 + 252, "csr": 44 + 14 + 252},
        ),
        (group("neurons", 10, 20), 3, {"dense": 800, "bitmap": 2 + 240, "csr": 44 + 6 + 240}),
    ],
)
def test_bytes_of_every_encoding(of: MaskGroup, width: int, expected: dict[str, int]) -> None:
    assert encodings(of, width, 4) == expected
    best = smallest(of, width, 4)
    assert best.size == min(expected.values())
    assert expected[best.encoding] == best.size


def test_very_sparse_weights_take_indices_and_dense_ones_nothing() -> None:
    assert smallest(group("weights", 100, 100), 10, 4).encoding == "csr"
    assert smallest(group("weights", 100, 100), 3000, 4).encoding == "bitmap"
    assert smallest(group("weights", 100, 100), 10000, 4).encoding == "dense"


@given(
    st.sampled_from(["weights", "1:4", "block:2x2", "neurons"]),
    st.integers(1, 8),
    st.integers(1, 8),
    st.data(),
)
def test_fewer_units_never_take_more_bytes(
    granularity: str, rows: int, columns: int, data: st.DataObject
) -> None:
    of = group(granularity, 4 * rows, 8 * columns)
    width = data.draw(st.integers(of.least, of.width - 1))
    assert smallest(of, width, 2).size <= smallest(of, width + 1, 2).size <= of.weight.size * 2


def test_costs_of_a_model_agree_with_its_zeros() -> None:
    model = digits_resnet()
    full = CostModel.of(discover(model, IMAGE), model).original(model)
    for granularity, share in product(("weights", "2:4", "block:4x4", "kernels"), (0.1, 0.6)):
        structure = discover_masks(model, IMAGE, granularity)
        costs = MaskCostModel.of(structure, model, IMAGE)
        assert costs.original(model).nonzero == full.parameters
        assert costs.original(model).size == full.size
        assert costs.original(model).effective_multiply_adds == full.flops
        widths = {g.name: max(g.least, round(share * g.width)) for g in structure.groups}
        priced = costs.costs(widths)
        masks = score_masks("l1", model, structure).masks(widths)
        plain = zeroed(model, masks)
        zeros = sum(int((plain.get_parameter(name) == 0).sum()) for name in masks)
        assert priced.nonzero == full.parameters - zeros
        assert (priced.flops, priced.parameters) == (full.flops, full.parameters)
        assert priced.size < full.size
        encoded = sum(item.size for item in costs.encoded(widths).values())
        assert priced.size - encoded == full.size - sum(4 * g.weight.size for g in structure.groups)
        assert priced.effective_multiply_adds < full.flops


def test_effective_multiply_adds_count_every_use() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(2 * 36, 3, bias=False))
    structure = discover_masks(model, IMAGE, "weights")
    costs = MaskCostModel.of(structure, model, IMAGE)
    dense = 18 * 36 + 72 * 3
    assert costs.dense.flops == dense
    assert costs.costs({"0": 17, "2": 216}).effective_multiply_adds == dense - 36
    assert costs.costs({"0": 18, "2": 200}).effective_multiply_adds == dense - 16


def test_half_precision_counts_its_own_bytes() -> None:
    model = nn.Sequential(nn.Linear(64, 32, bias=False)).double()
    structure = discover_masks(model, torch.zeros(1, 64, dtype=torch.float64), "weights")
    costs = MaskCostModel.of(structure, model, torch.zeros(1, 64, dtype=torch.float64))
    assert costs.costs({"0": 1024}).size == 2048 // 8 + 1024 * 8


def test_widths_that_do_not_fit_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    costs = MaskCostModel.of(discover_masks(model, torch.zeros(1, 4), "weights"), model, torch.zeros(1, 4))
    for widths in ({}, {"0": 17}, {"0": -1}):
        with pytest.raises(PlanError, match="width of group 0"):
            costs.costs(widths)
