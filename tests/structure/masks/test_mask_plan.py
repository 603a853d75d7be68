import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from autoprune.errors import PlanError
from autoprune.structure import Plan
from autoprune.structure.masks import LayerMask, MaskPlan, discover_masks, mask_hash, zeroed
from autoprune.structure.plans import read_plan

MASK = torch.tensor([[True, False, True, False], [False, True, True, False]])
PLAN = MaskPlan("2:4", {"0": LayerMask(2, mask_hash(MASK))}, "l1", "net", "ab" * 32)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3))


def test_json_round_trip() -> None:
    again = MaskPlan.from_json(PLAN.to_json())
    assert again == PLAN
    assert (again.model, again.weights, again.criterion) == ("net", "ab" * 32, "l1")
    assert again.hash == PLAN.hash
    assert read_plan(PLAN.to_json()) == PLAN
    assert isinstance(read_plan(Plan({"a": (0,)}).to_json()), Plan)


def test_a_plan_is_small_whatever_the_mask() -> None:
    assert len(PLAN.to_json()) < 300


def test_the_hash_is_that_of_the_masks() -> None:
    flipped = MASK.clone()
    flipped[0, 0] = False
    other = replace(PLAN, layers={"0": LayerMask(2, mask_hash(flipped))})
    assert other.hash != PLAN.hash
    assert replace(PLAN, model="elsewhere").hash == PLAN.hash
    assert mask_hash(MASK) != mask_hash(MASK.reshape(4, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, '"schema": 1'),
        ({"layers": {"0": {"kept": "2", "mask": ""}}}, '"kept" and "mask"'),
        ({"layers": []}, '"layers" must map'),
        ({"extra": 1}, "unknown keys: 'extra'"),
        ({"criterion": 3}, "must be texts"),
    ],
)
def test_a_broken_plan_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        MaskPlan.from_json(json.dumps(json.loads(PLAN.to_json()) | change))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(PLAN, granularity="1:4"), "granularity 1:4, not 2:4"),
        (replace(PLAN, layers={}), "masks nothing"),
        (replace(PLAN, layers={"1": LayerMask(2, "")}), "cannot be masked in this model"),
        (replace(PLAN, layers={"0": LayerMask(1, "")}), "keep 2 to 3"),
        (replace(PLAN, layers={"0": LayerMask(4, "")}), "keep 2 to 3"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan: MaskPlan, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan.check(discover_masks(network(), torch.zeros(1, 4), "2:4"))


def test_zeros_and_masks_are_checked() -> None:
    model = network()
    structure = discover_masks(model, torch.zeros(1, 4), "2:4")
    PLAN.check_masks({"0.weight": MASK}, structure)
    with pytest.raises(PlanError, match="comes out differently"):
        PLAN.check_masks({"0.weight": ~MASK}, structure)
    PLAN.check_zeros(zeroed(model, {"0.weight": MASK}), structure)
    with pytest.raises(PlanError, match="8 non-zero weights where the plan leaves 4"):
        PLAN.check_zeros(model, structure)
