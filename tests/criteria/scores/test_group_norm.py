from __future__ import annotations

import math
from statistics import NormalDist, fmean, pstdev

import pytest
import torch
from residual_net import entries

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


def _unit_values(context: Context, group: Group, over: str) -> list[list[list[float]]]:
    """Absolute entries by weight and unit."""
    state = context.model.state_dict()
    roles = {"all": ("out", "in"), "out": ("out",), "in": ("in",), "parameters": ("out", "pass", "in")}[over]
    trained = dict(context.model.named_parameters())
    return [
        [[abs(w) for w in entries(state[part.parameter], part, unit)] for unit in range(group.width)]
        for part in group.slices
        if part.role in roles and part.parameter in trained
        if state[part.parameter].ndim > 1 or over == "parameters"
    ]


def _literal(context: Context, group: Group, options: dict[str, str]) -> list[float]:
    p = float(options.get("p", "2"))
    rows = []
    for weight in _unit_values(context, group, options.get("over", "all")):
        each = [max(unit) if math.isinf(p) else sum(w**p for w in unit) for unit in weight]
        scale = options.get("scale", "mean")
        divisor = {"mean": fmean(each), "size": len(weight[0]), "none": 1.0}[scale]
        rows.append([value / divisor for value in each])
    reduce = {
        "mean": fmean,
        "sum": sum,
        "max": max,
        "prod": lambda values: math.prod(values) ** (1 / len(values)),
    }[options.get("reduce", "mean")]
    scores = [reduce([row[unit] for row in rows]) for unit in range(group.width)]
    if not math.isinf(p):
        scores = [score ** (1 / p) for score in scores]
    mean, spread = fmean(scores), pstdev(scores)
    return {
        "none": lambda: scores,
        "sum": lambda: [s / sum(scores) for s in scores],
        "lamp": lambda: [s**2 / sum(t**2 for t in scores if t >= s) for s in scores],
        "mean": lambda: [s / mean for s in scores],
        "max": lambda: [s / max(scores) for s in scores],
        "l2": lambda: [s / math.sqrt(sum(t**2 for t in scores)) for s in scores],
        "standard": lambda: [(s - mean) / spread for s in scores],
        "gaussian": lambda: [NormalDist(mean, spread).cdf(s) for s in scores],
    }[options.get("normalize", "mean")]()


@pytest.mark.parametrize(
    "options",
    [
        {"p": "1"},
        {"p": "3", "reduce": "sum", "normalize": "none"},
        {"p": "inf", "reduce": "max"},
        {"p": "inf", "scale": "none", "over": "out"},
        {"reduce": "prod", "normalize": "l2"},
        {"scale": "size", "reduce": "max", "normalize": "max"},
        {"scale": "none", "normalize": "standard", "over": "in"},
        {"p": "0.5", "normalize": "gaussian"},
        {"p": "1", "over": "parameters", "normalize": "sum"},
        {"over": "parameters", "scale": "size", "reduce": "sum"},
        {"over": "out", "scale": "none", "normalize": "lamp"},
    ],
)
def test_formula(context: Context, options: dict[str, str]) -> None:
    spec = "group-norm:" + ",".join(f"{key}={value}" for key, value in options.items())
    scores = score_units(criterion(spec), context)
    for group in context.structure.groups:
        assert scores[group.name].tolist() == pytest.approx(_literal(context, group, options), rel=1e-4)


def test_linf_is_the_largest_weight_relative_to_the_average_unit(context: Context) -> None:
    options = {"p": "inf", "normalize": "none"}
    for name, scores in score_units(criterion("linf"), context).items():
        expected = _literal(context, context.structure.group(name), options)
        assert scores.tolist() == pytest.approx(expected, rel=1e-5)


def test_unit_with_a_zero_weight_has_no_geometric_mean(context: Context) -> None:
    with torch.no_grad():
        context.model.get_parameter("b.weight")[:, 3] = 0
    scores = score_units(criterion("group-norm:reduce=prod"), context)["a"]
    assert scores[3] == 0
    assert int((scores == 0).sum()) == 1


def test_lamp_counts_equal_units_for_each_other(context: Context) -> None:
    with torch.no_grad():
        weight = context.model.get_parameter("a.weight")
        weight[4] = weight[1]
    options = {"over": "out", "scale": "none", "normalize": "lamp"}
    scores = score_units(criterion("group-norm:over=out,scale=none,normalize=lamp"), context)["a"]
    assert scores[1] == scores[4]
    assert scores.tolist() == pytest.approx(
        _literal(context, context.structure.group("a"), options), rel=1e-4
    )
    assert float(scores.max()) <= 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("group-norm:reduce=men", "reduce=men: use one of mean, sum, max, prod, did you mean mean?"),
        ("group-norm:p=0", "p=0 is no exponent"),
        ("group-norm:p=two", "criterion group-norm: p=two is not a number"),
        ("group-norm:norm=mean", "has no option norm, did you mean normalize?"),
        ("group-norm:p=1,p=2", "p is given twice"),
        ("group-norm:p=1,reduce", "write options as group-norm:key=value,key=value"),
        ("snip:p=1", "criterion snip takes no options"),
        ("taylor:at=gate", "at=gate: use one of weights, gates, did you mean gates?"),
        ("tailor:p=1", "did you mean taylor?"),
    ],
)
def test_options_that_cannot_be_read(spec: str, message: str) -> None:
    with pytest.raises(CriterionError) as caught:
        criterion(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
