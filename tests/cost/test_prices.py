from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.cost import CostModel, Profile
from autoprune.cost.fingerprint import DeviceFingerprint
from autoprune.cost.prices import unit_prices
from autoprune.cost.stairs import Stair
from autoprune.errors import CriterionError
from autoprune.structure import discover


@pytest.fixture(scope="module")
def costs() -> CostModel:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    return CostModel.of(discover(model, torch.zeros(1, 5)), model)


def test_a_unit_costs_what_its_row_and_column_do(costs: CostModel) -> None:
    prices = unit_prices(costs)
    assert prices["flops"]() == {"0": 5 + 6, "2": 8 + 3}
    assert prices["params"]() == {"0": 5 + 1 + 6, "2": 8 + 1 + 3}
    assert prices["size"]() == {"0": 48, "2": 48}


def test_latency_is_what_was_measured(costs: CostModel) -> None:
    fields = dict.fromkeys(DeviceFingerprint.__dataclass_fields__, "")
    stairs = {"0": Stair((1, 4, 8), (0.3, 0.9, 1.0), 0.01), "2": Stair((1, 6), (0.5, 1.0), 0.01)}
    profile = Profile(DeviceFingerprint(**fields), 1.0, stairs)  # type: ignore[arg-type]
    prices = unit_prices(costs, lambda: profile)["latency"]()
    assert prices == {"0": pytest.approx(0.7 / 7), "2": pytest.approx(0.5 / 5)}


def test_latency_that_was_not_measured(costs: CostModel) -> None:
    with pytest.raises(CriterionError, match="run autoprune measure first"):
        unit_prices(costs)["latency"]()
