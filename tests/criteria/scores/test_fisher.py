from __future__ import annotations

import copy

import pytest
import torch
from other_nets import NETS, context_of
from removed import agreement, increases, learned_context, learned_data
from residual_net import entries

from autoprune.criteria import Context, criterion, score_units


def _literal(context: Context) -> dict[str, list[float]]:
    """Half the mean squared derivative, from the weights that consume a unit, one sample at a time.

    Consumers are linear, so that scaling all weights by which they read a unit is what its gate does.
    """
    assert context.batches is not None and context.loss is not None
    model = copy.deepcopy(context.model).eval()
    total = {name: [0.0] * width for name, width in context.structure.widths.items()}
    samples = 0
    for inputs, targets in context.batches():
        for sample in range(len(inputs)):
            samples += 1
            model.zero_grad()
            context.loss(model(inputs[sample : sample + 1]), targets[sample : sample + 1]).backward()
            for group in context.structure.groups:
                for unit in range(group.width):
                    change = 0.0
                    for part in group.slices:
                        parameter = model.get_parameter(part.parameter) if part.role == "in" else None
                        if parameter is not None and parameter.grad is not None:
                            change += sum(entries(parameter.grad * parameter.detach(), part, unit))
                    total[group.name][unit] += change**2 / 2
    return {name: [value / samples for value in values] for name, values in total.items()}


def test_formula(context: Context) -> None:
    scores = score_units(criterion("fisher"), context)
    for name, expected in _literal(context).items():
        assert scores[name].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("net", list(NETS))
def test_units_of_every_kind(net: str) -> None:
    context = context_of(net)
    scores = score_units(criterion("fisher"), context)
    for name, expected in _literal(context).items():
        assert scores[name].tolist() == pytest.approx(expected, rel=2e-3, abs=1e-9), name


def test_agrees_with_removing_units_one_by_one() -> None:
    context = learned_context()
    scores = score_units(criterion("fisher"), context)
    assert agreement(dict(scores), increases(context, learned_data())) > 0.85


def test_callers_model_is_untouched() -> None:
    context = context_of("encoder")
    state = {name: value.clone() for name, value in context.model.state_dict().items()}
    kinds = [type(module) for module in context.model.modules()]
    for name in ("fisher", "activation"):
        score_units(criterion(name), context)
    assert [type(module) for module in context.model.modules()] == kinds
    assert all(torch.equal(value, state[name]) for name, value in context.model.state_dict().items())
    assert all(parameter.grad is None for parameter in context.model.parameters())
