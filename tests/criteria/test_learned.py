import json
from pathlib import Path
from typing import Any

import pytest
import torch
from residual_net import ResidualNet
from torch import nn

from autoprune.criteria import Context, criterion, ranking, rankings, score_units
from autoprune.criteria.curve import Curve, weighted
from autoprune.criteria.learned import (
    SCHEMA,
    Allowed,
    LearnedCriterion,
    LearnedGroup,
    Provenance,
    read_criterion,
)
from autoprune.criteria.selection import ranked_widths
from autoprune.errors import CriterionError
from autoprune.structure import discover

MADE = Provenance(
    model="net.py:model",
    weights="ab" * 32,
    data="digits",
    budget=("flops=50%",),
    study="s",
    trial=7,
    origin="sampler",
    metric="accuracy",
    quality=0.95,
    original_quality=0.97,
    flops_ratio=0.49,
    seed=0,
    versions={"autoprune": "0.1.0"},
)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return ResidualNet().eval()


def learned_for(model: nn.Module, weights: dict[str, float] | None = None) -> LearnedCriterion:
    groups = {
        group.name: LearnedGroup(
            width=group.width,
            weights=weights or {"l2": 1.0},
            losses={max(1, group.width // 4): 1.0, max(2, group.width // 2): 0.2},
            scale=1.0 + 9 * position,
        )
        for position, group in enumerate(structure_of(model).groups)
    }
    return LearnedCriterion(SCHEMA, groups, MADE)


def structure_of(model: nn.Module) -> Any:
    return discover(model, torch.zeros(1, 3, 8, 8))


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    made = LearnedCriterion(
        SCHEMA,
        {
            "a": LearnedGroup(
                16, {"l2": 0.25, "taylor/flops^0.5": 0.75}, {4: 1.5, 8: None, 12: -0.1}, 0.5, 0.1
            ),
            "block": LearnedGroup(1, {}, {0: 0.3}),
        },
        MADE,
        Allowed(skip=("head.*",), depth=True),
    )
    made.save(tmp_path / "deep" / "criterion.json")
    assert read_criterion(tmp_path / "deep" / "criterion.json") == made
    assert made.bases == ("l2", "taylor/flops^0.5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "schema: input should be 1"),
        (lambda d: d.pop("schema"), "schema: field required"),
        (lambda d: d.update(colour="red"), "unknown key colour"),
        (lambda d: d["groups"]["a"].update(colour=1), "unknown key groups.a.colour"),
        (lambda d: d["provenance"].update(x=1), "unknown key provenance.x"),
        (lambda d: d.update(groups={}), "groups: dictionary should have at least 1 item"),
        (lambda d: d["groups"]["a"].update(scale=0), "groups.a.scale: input should be greater than 0"),
        (lambda d: d["groups"]["a"].update(scale="1"), "groups.a.scale: input should be a valid number"),
        (lambda d: d["groups"]["a"].update(width=1.5), "groups.a.width: "),
        (lambda d: d["groups"]["a"].update(weights={"l2": -1}), "groups.a.weights.l2: "),
        (lambda d: d["groups"]["a"].update(weights={"l2": 0}), "no criterion counts in the group 'a'"),
        (lambda d: d["groups"]["a"].update(losses={}), "groups.a.losses: "),
        (lambda d: d["groups"]["a"].update(losses={"x": 1}), "groups.a.losses.x"),
        (lambda d: d["allowed"].update(shared="never"), "allowed.shared: "),
    ],
)
def test_a_file_with_anything_else_in_it_is_refused_in_one_line(change: Any, message: str) -> None:
    document = json.loads(
        LearnedCriterion(SCHEMA, {"a": LearnedGroup(4, {"l2": 1}, {2: 1.0})}, MADE).to_json()
    )
    change(document)
    with pytest.raises(CriterionError) as caught:
        LearnedCriterion.from_json(json.dumps(document))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_that_is_no_criterion(tmp_path: Path) -> None:
    with pytest.raises(CriterionError, match="is not JSON"):
        LearnedCriterion.from_json("{")
    with pytest.raises(CriterionError, match="NaN is no finite number"):
        LearnedCriterion.from_json('{"schema": NaN}')
    with pytest.raises(CriterionError, match="does not exist"):
        criterion(str(tmp_path / "nowhere.json"))


def test_another_architecture_is_named_by_its_first_difference() -> None:
    made = LearnedCriterion(SCHEMA, {n: LearnedGroup(4, {"l2": 1}, {2: 1.0}) for n in "ab"}, MADE)
    made.check({"a": 4, "b": 4})
    with pytest.raises(CriterionError, match="it knows nothing of the group 'c' and 1 more"):
        made.check({"a": 4, "b": 4, "c": 4, "d": 4})
    with pytest.raises(CriterionError, match="this model has no group 'b'"):
        made.check({"a": 4})
    with pytest.raises(CriterionError, match="the group 'b' had 4 units and has 8 here"):
        made.check({"a": 4, "b": 8})


def test_units_go_in_the_order_of_the_base_and_groups_compare_by_the_learned_curves(
    tmp_path: Path, net: nn.Module
) -> None:
    learned_for(net).save(tmp_path / "criterion.json")
    structure = structure_of(net)
    context = Context(net, structure)
    found = score_units(criterion(str(tmp_path / "criterion.json")), context)
    base = score_units(criterion("l2"), context)
    assert all(torch.equal(ranking(found)[name], order) for name, order in ranking(base).items())
    # The group with the largest scale has the steepest curve of all: its units are worth most.
    first, last = structure.groups[0].name, structure.groups[-1].name
    assert found[last].mean() > found[first].mean()


def test_a_learned_criterion_removes_what_its_curves_lose_least_by(tmp_path: Path, net: nn.Module) -> None:
    made = learned_for(net)
    made.save(tmp_path / "criterion.json")
    spec = criterion(str(tmp_path / "criterion.json"))
    found = rankings({"learned": spec}, Context(net, structure_of(net)))["learned"]
    assert not found.relative
    counts = ranked_widths(found)(0.7)
    kept = {name: counts[name] / group.width for name, group in made.groups.items()}
    scales = [made.groups[name].scale for name in kept]
    assert scales == sorted(scales)
    first, *_, last = kept.values()
    assert first < last


def test_a_price_divides_it_like_any_other(tmp_path: Path, net: nn.Module) -> None:
    learned_for(net).save(tmp_path / "criterion.json")
    structure = structure_of(net)
    prices = {g.name: 2.0**i for i, g in enumerate(structure.groups)}
    context = Context(net, structure, prices={"flops": lambda: prices})
    plain = score_units(criterion(f"{tmp_path}/criterion.json"), context)
    priced = score_units(criterion(f"{tmp_path}/criterion.json/flops"), context)
    first, second = (group.name for group in structure.groups[:2])
    ratio = (plain[first] / priced[first])[0] / (plain[second] / priced[second])[0]
    assert float(ratio) == pytest.approx(0.5)


def test_a_file_does_not_decide_which_code_runs(tmp_path: Path, net: nn.Module) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\n\ndef score(context):\n"
        "    return {g.name: torch.arange(g.width) for g in context.structure.groups}\n"
    )
    learned_for(net, {f"{own}:score": 1.0}).save(tmp_path / "criterion.json")
    spec = str(tmp_path / "criterion.json")
    with pytest.raises(CriterionError, match=f"if you trust it, give --mix {own}:score"):
        criterion(spec)
    trusted = criterion(spec, trusted=[f"{own}:score"])
    scores = score_units(trusted, Context(net, structure_of(net)))
    assert all(bool((values.diff() > 0).all()) for values in scores.values())


@pytest.mark.parametrize(
    ("value", "message"),
    [("float('nan')", "are not all finite"), ("1.0", "all units of every group equally")],
)
def test_what_it_is_made_of_is_checked_as_when_it_stands_alone(
    tmp_path: Path, net: nn.Module, value: str, message: str
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\n\ndef score(context):\n"
        f"    return {{g.name: torch.full((g.width,), {value}) for g in context.structure.groups}}\n"
    )
    learned_for(net, {"l2": 1.0, f"{own}:score": 1.0}).save(tmp_path / "criterion.json")
    made = criterion(str(tmp_path / "criterion.json"), trusted=[f"{own}:score"])
    with pytest.raises(CriterionError, match=message):
        score_units(made, Context(net, structure_of(net)))


def test_a_learned_criterion_is_not_made_of_another(tmp_path: Path, net: nn.Module) -> None:
    learned_for(net, {"other.json/flops": 1.0}).save(tmp_path / "criterion.json")
    with pytest.raises(CriterionError, match="made of another learned criterion"):
        criterion(str(tmp_path / "criterion.json"))


def test_affine_coefficients_act_on_the_curves() -> None:
    curves = {
        "a": Curve((2, 4, 8), (3.0, 1.0, 0.0)),
        "b": Curve((4, 8), (0.0, 0.0)),
        "c": Curve((1, 2), (9, 0)),
    }
    found = weighted(curves, {"a": 2.0}, {"b": 0.5})
    assert found["a"].losses == (6.0, 2.0, 0.0)
    # Half of the median group's largest loss, 3, at width 0: a quarter of it remains at half the width.
    assert found["b"].losses == (0.75, 0.0)
    assert found["c"] == curves["c"]
