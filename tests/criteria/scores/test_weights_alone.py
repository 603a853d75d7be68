"""Geometric median and BatchNorm scales."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from residual_net import entries

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


def _literal_fpgm(context: Context, group: Group) -> list[float]:
    state = context.model.state_dict()
    total = [0.0] * group.width
    parts = [p for p in group.slices if p.role == "out" and state[p.parameter].ndim > 1]
    for part in parts:
        units = [entries(state[part.parameter], part, unit) for unit in range(group.width)]
        sums = [sum(math.dist(unit, other) for other in units) for unit in units]
        total = [t + s / (sum(sums) / len(sums)) for t, s in zip(total, sums, strict=True)]
    return [t / len(parts) for t in total]


def test_geometric_median(context: Context) -> None:
    scores = score_units(criterion("fpgm"), context)
    for group in context.structure.groups:
        assert scores[group.name].tolist() == pytest.approx(_literal_fpgm(context, group), rel=1e-5)


def test_the_unit_at_the_median_goes_first(context: Context) -> None:
    with torch.no_grad():
        weight = context.model.get_parameter("a.weight")
        weight[5] = weight[:5].mean(0)
    assert int(score_units(criterion("fpgm"), context)["a"].argmin()) == 5


def test_batchnorm_scale(context: Context) -> None:
    scores = score_units(criterion("bn-scale"), context)
    state = context.model.state_dict()
    torch.testing.assert_close(scores["a"], state["a_norm.weight"].abs().double())
    stream = (state["stem_norm.weight"].abs() + state["b_norm.weight"].abs()) / 2
    torch.testing.assert_close(scores["stem"], stream.double())


def test_sign_of_a_scale_counts_for_nothing(context: Context) -> None:
    before = score_units(criterion("bn-scale"), context)
    with torch.no_grad():
        context.model.get_parameter("a_norm.weight").neg_()
    assert torch.equal(score_units(criterion("bn-scale"), context)["a"], before["a"])


def test_group_without_batchnorm(context: Context) -> None:
    inner = context.structure.groups[1]
    bare = dataclasses.replace(inner, slices=tuple(p for p in inner.slices if p.role != "pass"))
    structure = dataclasses.replace(context.structure, groups=(bare,))
    with pytest.raises(CriterionError, match=r"group 'a' passes through no BatchNorm.*--skip a"):
        score_units(criterion("bn-scale"), dataclasses.replace(context, structure=structure))
