from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from removed import agreement, increases, learned_context, learned_data
from residual_net import batches, entries
from torch.nn import functional as F

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


def _literal_taylor(context: Context, group: Group, roles: tuple[str, ...] = ("out", "pass")) -> list[float]:
    model = copy.deepcopy(context.model).eval()
    total = [0.0] * group.width
    data = batches()
    for inputs, targets in data:
        model.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        product = {name: (p.grad * p).detach() for name, p in model.named_parameters() if p.grad is not None}
        for unit in range(group.width):
            change = 0.0
            for part in group.slices:
                if part.role in roles and part.parameter in product:
                    change += sum(entries(product[part.parameter], part, unit))
            total[unit] += change**2
    return [value / len(data) for value in total]


def test_formula(context: Context) -> None:
    scores = score_units(criterion("taylor"), context)
    for group in context.structure.groups:
        assert scores[group.name].tolist() == pytest.approx(
            _literal_taylor(context, group), rel=1e-3, abs=1e-10
        )


def test_formula_by_gates(context: Context) -> None:
    scores = score_units(criterion("taylor:at=gates"), context)
    for group in context.structure.groups:
        expected = _literal_taylor(context, group, ("in",))
        assert scores[group.name].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-10)


def test_a_unit_that_nothing_reads_is_judged_by_what_produces_it(context: Context) -> None:
    groups = tuple(
        dataclasses.replace(g, slices=tuple(part for part in g.slices if part.role != "in"))
        for g in context.structure.groups
    )
    unread = dataclasses.replace(context, structure=dataclasses.replace(context.structure, groups=groups))
    scores = score_units(criterion("taylor:at=gates"), unread)
    expected = score_units(criterion("taylor"), unread)
    assert all(torch.equal(scores[name], values) for name, values in expected.items())


@pytest.mark.parametrize(("spec", "least"), [("taylor", 0.7), ("taylor:at=gates", 0.8)])
def test_agrees_with_removing_units_one_by_one(spec: str, least: float) -> None:
    """What it estimates is the square of what each batch's loss changes by, batch by batch."""
    context = learned_context()
    data = learned_data()
    truth = {name: torch.zeros(width) for name, width in context.structure.widths.items()}
    for batch in data:
        for name, changes in increases(context, [batch]).items():
            truth[name] += torch.tensor(changes).square() / len(data)
    scores = score_units(criterion(spec), context)
    assert agreement(dict(scores), {name: values.tolist() for name, values in truth.items()}) > least


def test_is_the_square_of_the_change_where_the_loss_is_nearly_linear(context: Context) -> None:
    """On units that are read through tiny weights."""
    batch = (batches()[0][0].double(), batches()[0][1])
    model = context.model.double().eval()
    precise = dataclasses.replace(context, model=model, batches=lambda: [batch])
    with torch.no_grad():
        model.get_parameter("b.weight").mul_(1e-3)
    scores = score_units(criterion("taylor:at=gates"), precise)["a"]
    change = torch.tensor(increases(precise, [batch])["a"], dtype=torch.float64)
    torch.testing.assert_close(scores, change.square(), rtol=0.05, atol=1e-14)


def test_unit_that_nothing_depends_on_scores_zero(context: Context) -> None:
    assert score_units(criterion("taylor"), context)["a"][4] > 0
    with torch.no_grad():
        context.model.get_parameter("b.weight")[:, 4] = 0
    assert score_units(criterion("taylor"), context)["a"][4] == 0


def test_callers_model_is_untouched(context: Context) -> None:
    model = context.model
    model.get_submodule("a_norm").eval()
    model.get_parameter("head.bias").requires_grad_(False)
    model.get_parameter("head.weight").grad = torch.ones(5, 16)
    training = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    score_units(criterion("taylor"), context)
    assert [module.training for module in model.modules()] == training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.weight"}
    assert torch.equal(model.get_parameter("head.weight").grad, torch.ones(5, 16))
    assert not model.get_parameter("head.bias").requires_grad


def test_frozen_parameters_and_no_grad_make_no_difference(context: Context) -> None:
    expected = score_units(criterion("taylor"), context)
    context.model.requires_grad_(False)
    with torch.no_grad():
        scores = score_units(criterion("taylor"), context)
    assert all(torch.equal(scores[name], expected[name]) for name in expected)


@pytest.mark.parametrize("missing", ["batches", "loss"])
def test_needs_data_and_loss(context: Context, missing: str) -> None:
    without = dataclasses.replace(context, **{missing: None})
    with pytest.raises(CriterionError, match="needs calibration data and a loss"):
        criterion("taylor").scores(without)


def test_needs_at_least_one_batch(context: Context) -> None:
    with pytest.raises(CriterionError, match="no calibration batches"):
        criterion("taylor").scores(dataclasses.replace(context, batches=lambda: []))


def test_data_that_is_not_finite_is_reported(context: Context) -> None:
    bad = [(torch.full((2, 3, 6, 6), float("nan")), torch.zeros(2, dtype=torch.long))]
    with pytest.raises(CriterionError, match="not all finite"):
        score_units(criterion("taylor"), dataclasses.replace(context, batches=lambda: bad))
