from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from other_nets import context_of
from removed import agreement, increases, learned_context, learned_data
from residual_net import entries

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.tasks.corruption import Corruption, Noise


@pytest.mark.parametrize(("noise", "strength"), [("gaussian", 1.0), ("salt-and-pepper", 0.2)])
def test_agrees_with_removing_units_under_noise(noise: Noise, strength: float) -> None:
    context = learned_context()
    generator = torch.Generator().manual_seed(9)
    corruption = Corruption(noise, strength)
    noisy = [(corruption.applied(inputs, generator), y) for inputs, y in learned_data() * 3]
    scores = score_units(criterion(f"robustness:noise={noise},strength={strength}"), context)
    assert agreement(dict(scores), increases(context, noisy)) > 0.75


@pytest.mark.parametrize(("noise", "strength"), [("gaussian", 0.5), ("salt-and-pepper", 0.2)])
def test_formula(context: Context, noise: Noise, strength: float) -> None:
    """From the weights that read a unit, one noisy sample at a time."""
    assert context.batches is not None and context.loss is not None
    generator = torch.Generator().manual_seed(context.seed)
    corruption = Corruption(noise, strength)
    model = copy.deepcopy(context.model).eval()
    expected = {name: [0.0] * width for name, width in context.structure.widths.items()}
    samples = 0
    for inputs, targets in context.batches():
        noisy = corruption.applied(inputs, generator)
        for sample in range(len(noisy)):
            samples += 1
            model.zero_grad()
            context.loss(model(noisy[sample : sample + 1]), targets[sample : sample + 1]).backward()
            for group in context.structure.groups:
                for unit in range(group.width):
                    slope = 0.0
                    for part in group.slices:
                        parameter = model.get_parameter(part.parameter) if part.role == "in" else None
                        if parameter is not None and parameter.grad is not None:
                            slope += sum(entries(parameter.grad * parameter.detach(), part, unit))
                    expected[group.name][unit] += slope**2 / 2 - slope
    scores = score_units(criterion(f"robustness:noise={noise},strength={strength}"), context)
    for name, values in expected.items():
        assert scores[name].tolist() == pytest.approx([v / samples for v in values], rel=1e-3, abs=1e-7)


def test_the_same_seed_gives_the_same_scores() -> None:
    context = learned_context()
    first, again = (score_units(criterion("robustness"), context) for _ in range(2))
    other = score_units(criterion("robustness"), dataclasses.replace(context, seed=1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_symbols_take_no_noise() -> None:
    message = "criterion robustness: gaussian noise needs floating-point inputs"
    with pytest.raises(CriterionError, match=message):
        score_units(criterion("robustness"), context_of("lstm"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("noise=gausian", "noise=gausian: use one of gaussian, salt-and-pepper, did you mean gaussian?"),
        ("strength=0", "gaussian noise of strength 0: give a number above 0"),
        ("noise=salt-and-pepper,strength=2", "above 0 and at most 1"),
        ("strength=nan", "give a number above 0"),
    ],
)
def test_options_out_of_bounds(options: str, message: str) -> None:
    with pytest.raises(CriterionError) as caught:
        criterion(f"robustness:{options}")
    assert message in str(caught.value)
