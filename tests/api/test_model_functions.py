"""inspect, measure and apply in Python: objects or texts in, results out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import ArgumentError, ConfigError, PlanError, UserError
from autoprune.structure.masks import LayerMask, MaskPlan

X = torch.randn(2, 20)
SPLIT = (torch.randn(32, 20), torch.arange(32) % 2)
DATA = {"train": SPLIT, "validation": SPLIT, "test": SPLIT}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))


def test_a_model_is_inspected_as_an_object_or_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    found = autoprune.inspect(model, example_inputs=X[:1], latency=False)
    assert found.name == "Sequential" and found.structure.widths == {"0": 8, "2": 6}
    assert found.costs.parameters == sum(p.numel() for p in model.parameters())
    assert found.latency == {} and 0 < found.shares["0"].flops < 1
    assert autoprune.inspect(model, DATA, latency=False).as_dict() == found.as_dict()
    kept = autoprune.inspect(model, example_inputs=X[:1], skip="0", config=autoprune.Config(latency=False))
    assert kept.structure.widths == {"2": 6} and kept.latency == {}
    named = autoprune.inspect("autoprune.tasks.zoo:digits_resnet", "digits", latency=False)
    assert named.name == "autoprune.tasks.zoo:digits_resnet" and named.structure.groups
    assert len(repr(found)) < 1000
    assert capsys.readouterr() == ("", "")


def test_latency_is_measured_unless_it_is_turned_off() -> None:
    found = autoprune.inspect(network(), example_inputs=X[:1], latency_seconds=0.01)
    assert set(found.latency) == {"0", "2"}


def test_a_profile_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = network()
    first = autoprune.measure(model, example_inputs=X, latency_seconds=0.01)
    assert not first.known and first.file.is_file() and set(first.offered) == {"0", "2"}
    again = autoprune.measure(model, example_inputs=X, latency_seconds=0.01)
    assert again.known and again.profile.seconds == first.profile.seconds
    assert len(repr(again)) < 1000


@pytest.mark.parametrize("call", [autoprune.inspect, autoprune.measure])
def test_what_is_missing_or_wrong_is_named(call: Any) -> None:
    with pytest.raises(ConfigError, match=r"what does Sequential take\? .*example_inputs= or data="):
        call(network())
    with pytest.raises(ArgumentError, match=r"^example_inputs is a list"):
        call(network(), example_inputs=[X])
    with pytest.raises(ArgumentError, match=r"^a part of example_inputs is an int \(1\)"):
        call(network(), example_inputs=(1, 20))
    with pytest.raises(ArgumentError, match=r"^config is a dict: give an autoprune.Config"):
        call(network(), example_inputs=X, config={})


def test_a_plan_is_applied_as_an_object_or_a_file(tmp_path: Path) -> None:
    model = network()
    structure = autoprune.discover(model, X)
    plan = autoprune.Plan.of(structure, {"0": (0, 3), "2": (1, 2, 5)})
    cut = autoprune.apply(model, plan, structure)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    for given in (plan, file, str(file)):
        again = autoprune.apply(model, given, example_inputs=X)
        assert torch.equal(again(X), cut(X)) and again[0].out_features == 2
    assert model[0].out_features == 8


def test_a_plan_with_blocks_gets_the_structure_that_it_needs() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x)

    model = nn.Sequential(nn.Linear(20, 8), Residual(), nn.Linear(8, 2))
    structure = autoprune.discover(model, X, depth=True)
    (block,) = structure.blocks
    cut = autoprune.apply(model, autoprune.Plan({block: ()}), example_inputs=X)
    assert torch.allclose(cut(X), model[2](model[0](X)))


def test_a_plan_that_cannot_be_applied_is_named(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(ArgumentError, match=r"^structure is None: give what autoprune.discover returned, or"):
        autoprune.apply(model, autoprune.Plan({"0": (0,)}))
    with pytest.raises(ArgumentError, match=r"^plan is a dict: give an autoprune.Plan, or the path"):
        autoprune.apply(model, {"0": [0]}, example_inputs=X)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"no-plan.json"):
        autoprune.apply(model, tmp_path / "no-plan.json", example_inputs=X)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(PlanError):
        autoprune.apply(model, tmp_path / "broken.json", example_inputs=X)
    (tmp_path / "mask.json").write_text(MaskPlan("weights", {"0": LayerMask(3, "0")}).to_json())
    with pytest.raises(PlanError, match=r"mask.json: the plan masks weights"):
        autoprune.apply(model, tmp_path / "mask.json", example_inputs=X)
