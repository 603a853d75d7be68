from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.cost import CostModel, Predictor, Profile
from autoprune.cost.latency.device_fingerprint import DeviceFingerprint
from autoprune.cost.latency.steps import LatencySteps
from autoprune.cost.unit_prices import unit_prices
from autoprune.errors import CriterionError
from autoprune.structure import Structure, discover


@pytest.fixture(scope="module")
def structure() -> Structure:
    return discover(network(), torch.zeros(1, 5))


@pytest.fixture(scope="module")
def costs(structure: Structure) -> CostModel:
    return CostModel.of(structure, network())


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


def test_a_unit_costs_what_its_row_and_column_do(costs: CostModel) -> None:
    prices = unit_prices(costs)
    assert prices["flops"]() == {"0": 5 + 6, "2": 8 + 3}
    assert prices["params"]() == {"0": 5 + 1 + 6, "2": 8 + 1 + 3}
    assert prices["size"]() == {"0": 48, "2": 48}


def test_latency_is_what_was_measured(costs: CostModel, structure: Structure) -> None:
    fields = dict.fromkeys(DeviceFingerprint.__dataclass_fields__, "")
    # Most of the time goes with the first group, and next to none with the second, whose curve is noise.
    latency_steps = {
        "0": LatencySteps((1, 2, 4, 8), (0.15, 0.27, 0.51, 1.0), 0.01),
        "2": LatencySteps((1, 2, 4, 6), (1.002, 0.93, 0.98, 1.0), 0.01),
    }
    profile = Profile(DeviceFingerprint(**fields), 1.0, latency_steps)  # type: ignore[arg-type]
    prices = unit_prices(costs, lambda: Predictor.of(structure, profile))["latency"]()
    assert prices["0"] == pytest.approx(0.85 / 7, rel=0.15)
    assert 0 < prices["2"] < prices["0"] / 2


def test_latency_that_was_not_measured(costs: CostModel) -> None:
    with pytest.raises(CriterionError, match="run autoprune measure first"):
        unit_prices(costs)["latency"]()
