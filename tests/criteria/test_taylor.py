from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from residual_net import batches, entries
from torch.nn import functional as F

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


def _literal_taylor(context: Context, group: Group) -> list[float]:
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
                if part.role != "in" and part.parameter in product:
                    change += sum(entries(product[part.parameter], part, unit))
            total[unit] += change**2
    return [value / len(data) for value in total]


def test_formula(context: Context) -> None:
    scores = score_units(criterion("taylor"), context)
    for group in context.structure.groups:
        assert scores[group.name].tolist() == pytest.approx(
            _literal_taylor(context, group), rel=1e-3, abs=1e-10
        )


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
