"""Models whose structure, not only their widths, was changed by the cut."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from twin_net import twin_net

from autoprune.errors import PlanError
from autoprune.export import Card, ExportCandidate, export_candidate, load_exported
from autoprune.structure import Plan, apply, discover

SPEC = f"{Path(__file__).parent / 'twin_net.py'}:twin_net"
IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def candidate(plan: Plan) -> ExportCandidate:
    base = twin_net()
    shared = "untie" if plan.untied else "joint"
    model = apply(base, plan, discover(base, IMAGES[:1], depth=True, shared=shared))
    return ExportCandidate(model, plan, base, SPEC, None, IMAGES)


PLANS = {
    "joint": Plan({"narrow": (0, 2), "blocks.0": ()}),
    "untied": Plan({"narrow": (1, 3), "encoder.0.0": (0, 1, 4), "blocks.1": ()}, untied=True),
}


@pytest.mark.parametrize(("name", "formats"), [("joint", ["state"]), ("untied", ["state", "pt2", "onnx"])])
def test_every_format_equals_the_pruned_model_in_a_fresh_process(
    name: str, formats: list[str], card: Card, tmp_path: Path
) -> None:
    made = candidate(PLANS[name])
    exported = export_candidate(made, card, 'data = "digits"\n', tmp_path, formats)
    assert [item.format for item in exported] == formats
    assert all(item.max_difference < 1e-4 for item in exported)
    assert "fresh process" in exported[0].note
    assert Plan.from_json((tmp_path / "plan.json").read_text()) == made.plan
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    removed = next(block for block, units in made.plan.keep.items() if not units)
    assert not any(tensor.startswith(removed) for tensor in stored)
    assert ("last.weight" in stored) == made.plan.untied
    again = load_exported(tmp_path, twin_net(), IMAGES[:1])
    assert (again.last.weight is again.head.weight) != made.plan.untied
    assert torch.equal(again(IMAGES), copy.deepcopy(made.model).eval()(IMAGES))


def test_a_model_without_a_name_is_rebuilt_here(card: Card, tmp_path: Path) -> None:
    made = replace(candidate(PLANS["untied"]), spec=None)
    (state,) = export_candidate(made, card, "", tmp_path, ["state"])
    assert state.max_difference < 1e-5


def test_a_plan_remembers_what_a_unit_of_attention_is(tmp_path: Path, card: Card) -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 12, batch_first=True), nn.Linear(16, 3))
    tokens = torch.randn(2, 5, 16)
    structure = discover(base, tokens[:1], attention="width")
    widths = next(group for group in structure.groups if "width" in group.kind)
    plan = Plan.of(structure, {widths.name: tuple(range(widths.width // 2))})
    assert Plan.from_json(plan.to_json()).attention == "width"
    with pytest.raises(PlanError, match="attention='width'"):
        plan.check(discover(base, tokens[:1]))
    made = ExportCandidate(apply(base, plan, structure), plan, base, None, None, tokens)
    (state,) = export_candidate(made, card, "", tmp_path, ["state"])
    assert state.max_difference < 1e-5
