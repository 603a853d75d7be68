from __future__ import annotations

import dataclasses

import pytest
import torch
from residual_net import entries, trained_net

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group

# The weights that produce or consume each group's units.
WEIGHTS = {"stem": {"stem.weight", "a.weight", "b.weight", "head.weight"}, "a": {"a.weight", "b.weight"}}


def _literal_norm(context: Context, group: Group, p: int) -> list[float]:
    state = context.model.state_dict()
    parts = [part for part in group.slices if part.parameter in WEIGHTS[group.name]]
    assert len(parts) == len(WEIGHTS[group.name])
    scores = []
    for unit in range(group.width):
        total = 0.0
        for part in parts:
            tensor = state[part.parameter]
            sums = [sum(abs(w) ** p for w in entries(tensor, part, v)) for v in range(group.width)]
            total += sums[unit] / (sum(sums) / group.width)
        scores.append((total / len(parts)) ** (1 / p))
    return scores


@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2)])
def test_formula(context: Context, name: str, p: int) -> None:
    scores = score_units(criterion(name), context)
    for group in context.structure.groups:
        assert scores[group.name].tolist() == pytest.approx(_literal_norm(context, group, p), rel=1e-5)


def test_scale_of_one_layer_changes_nothing(context: Context) -> None:
    before = score_units(criterion("l2"), context)
    with torch.no_grad():
        context.model.get_parameter("b.weight").mul_(1000)
    after = score_units(criterion("l2"), context)
    for name, scores in before.items():
        torch.testing.assert_close(after[name], scores, rtol=1e-5, atol=0)


def test_unit_with_small_weights_everywhere_comes_last(context: Context) -> None:
    with torch.no_grad():
        context.model.get_parameter("a.weight")[2] *= 0.01
        context.model.get_parameter("b.weight")[:, 2] *= 0.01
    for name in ("l1", "l2"):
        assert int(score_units(criterion(name), context)["a"].argmin()) == 2


def test_weight_that_is_all_zero_leaves_the_others_to_decide(context: Context) -> None:
    with torch.no_grad():
        context.model.get_parameter("b.weight").zero_()
    scores = score_units(criterion("l2"), context)["a"]
    weight = context.model.get_parameter("a.weight").detach()
    assert torch.equal(scores.argsort(), weight.flatten(1).norm(dim=1).argsort())


def test_half_precision_is_as_good(context: Context) -> None:
    half = dataclasses.replace(context, model=trained_net().half())
    with torch.no_grad():
        half.model.get_parameter("a.weight").mul_(1e-4)
    exact = score_units(criterion("l2"), context)
    for name, scores in score_units(criterion("l2"), half).items():
        torch.testing.assert_close(scores, exact[name], rtol=2e-2, atol=0)


def test_group_without_weights(context: Context) -> None:
    stem = context.structure.groups[0]
    bare = dataclasses.replace(stem, slices=tuple(part for part in stem.slices if part.role == "pass"))
    structure = dataclasses.replace(context.structure, groups=(bare,))
    with pytest.raises(CriterionError, match="'stem' has no weight"):
        criterion("l1").scores(dataclasses.replace(context, structure=structure))
