from __future__ import annotations

import dataclasses

import pytest
import torch
from other_nets import context_of
from removed import agreement, increases, learned_context, learned_data

from autoprune.criteria import criterion, score_units
from autoprune.criteria.gates import gates
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


def test_formula() -> None:
    context = learned_context()
    generator = torch.Generator().manual_seed(context.seed)
    corruption = Corruption("gaussian", 0.5)
    data = [(corruption.applied(inputs, generator), y) for inputs, y in learned_data()]
    derivatives = gates(dataclasses.replace(context, batches=lambda: data), "robustness")
    scores = score_units(criterion("robustness:strength=0.5"), context)
    for name, values in scores.items():
        torch.testing.assert_close(values, derivatives.squares[name] / 2 - derivatives.mean[name])


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
