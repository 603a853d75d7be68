"""Gradient magnitude and connection sensitivity, and the pass that they share."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from residual_net import batches, entries
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.criteria import Context, criterion, rankings, score_units
from autoprune.errors import CriterionError


def _batch_gradients(context: Context) -> list[dict[str, Tensor]]:
    model = copy.deepcopy(context.model).eval()
    found = []
    for inputs, targets in batches():
        model.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    return found


def _over_unit(context: Context, values: dict[str, Tensor], name: str, unit: int) -> float:
    parts = [part for part in context.structure.group(name).slices if part.parameter in values]
    return sum(sum(entries(values[part.parameter], part, unit)) for part in parts)


def test_gradient_magnitude(context: Context) -> None:
    scores = score_units(criterion("gradient"), context)
    every = _batch_gradients(context)
    for name, width in context.structure.widths.items():
        for unit in range(width):
            sizes = [{key: g.abs() for key, g in each.items()} for each in every]
            expected = sum(_over_unit(context, size, name, unit) for size in sizes) / len(every)
            assert float(scores[name][unit]) == pytest.approx(expected, rel=1e-4)


def test_connection_sensitivity_is_of_the_mean_gradient(context: Context) -> None:
    scores = score_units(criterion("snip"), context)
    every, state = _batch_gradients(context), context.model.state_dict()
    mean = {key: sum(each[key] for each in every) / len(every) for key in every[0]}
    products = {key: (gradient * state[key]).abs() for key, gradient in mean.items()}
    for name, width in context.structure.widths.items():
        expected = [_over_unit(context, products, name, unit) for unit in range(width)]
        assert scores[name].tolist() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_connection_sensitivity_is_what_the_loss_changes_by_when_connections_close_a_little(
    context: Context,
) -> None:
    data = [(inputs.double(), targets) for inputs, targets in batches()]
    model = copy.deepcopy(context.model).double().eval()
    precise = dataclasses.replace(context, model=model, batches=lambda: data)
    scores = score_units(criterion("snip"), precise)["a"]

    def loss() -> float:
        return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)

    for unit in range(2):
        total = 0.0
        for part in context.structure.group("a").slices:
            if part.parameter not in dict(model.named_parameters()):
                continue
            values = model.get_parameter(part.parameter)
            mine = set(part.index[unit].tolist())
            for where in np.ndindex(*values.shape):
                if where[part.axis] in mine:
                    kept = float(values[where])
                    values[where] = kept * (1 + 1e-4)
                    above = loss()
                    values[where] = kept * (1 - 1e-4)
                    total += abs(above - loss()) / 2e-4
                    values[where] = kept
        assert float(scores[unit]) == pytest.approx(total, rel=1e-3)


def test_criteria_that_ask_for_the_same_share_one_pass(context: Context) -> None:
    passes = 0

    def counted() -> list[tuple[Tensor, Tensor]]:
        nonlocal passes
        passes += 1
        return [*batches()]

    reads = 0

    class Counting(type(context.model)):  # type: ignore[misc]
        def forward(self, images: Tensor) -> Tensor:
            nonlocal reads
            reads += 1
            return super().forward(images)

    model = copy.deepcopy(context.model)
    model.__class__ = Counting
    shared = dataclasses.replace(context, model=model, batches=counted)
    specs = ("taylor", "snip", "gradient")
    found = rankings({name: criterion(name) for name in specs}, shared)
    assert reads == len(batches())
    for name in specs:
        alone = score_units(criterion(name), context)
        assert all(torch.equal(scores, alone[group]) for group, scores in found[name].scores.items())


class _Rounded(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scores: Tensor = self.inner(x)
        return scores


@pytest.mark.parametrize("name", ["taylor", "fisher", "hessian", "robustness", "gradient"])
def test_model_without_gradients(context: Context, name: str) -> None:
    structure = copy.deepcopy(context.structure)
    renamed = [
        dataclasses.replace(
            g, slices=tuple(dataclasses.replace(p, parameter=f"inner.{p.parameter}") for p in g.slices)
        )
        for g in structure.groups
    ]
    structure = dataclasses.replace(structure, groups=tuple(renamed))
    model = _Rounded(context.model)
    with pytest.raises(CriterionError, match="no gradient reaches the weights"):
        score_units(criterion(name), dataclasses.replace(context, model=model, structure=structure))


@pytest.mark.parametrize("name", ["taylor", "snip", "gradient", "fisher", "hessian", "robustness"])
@pytest.mark.parametrize("missing", ["batches", "loss"])
def test_needs_data_and_loss(context: Context, name: str, missing: str) -> None:
    with pytest.raises(CriterionError, match=f"criterion {name} needs calibration data and a loss"):
        score_units(criterion(name), dataclasses.replace(context, **{missing: None}))


@pytest.mark.parametrize(
    "name", ["snip", "fisher", "hessian", "activation", "entropy", "hrank", "redundancy"]
)
def test_needs_a_batch(context: Context, name: str) -> None:
    with pytest.raises(CriterionError, match=f"criterion {name} got no calibration batches"):
        score_units(criterion(name), dataclasses.replace(context, batches=lambda: []))
