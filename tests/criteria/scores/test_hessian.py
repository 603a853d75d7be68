from __future__ import annotations

import dataclasses

import pytest
import torch
from other_nets import context_of
from removed import agreement, increases, learned_context, learned_data
from torch import Tensor
from torch.func import functional_call, hessian, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import CriterionError
from autoprune.structure.groups import Structure


def _gated_loss(context: Context, gates: Tensor) -> Tensor:
    """Mean loss with every unit's gate on the weights that consume it."""
    assert context.batches is not None and context.loss is not None
    state = dict(context.model.eval().named_parameters())
    factors = {name: torch.ones_like(value) for name, value in state.items()}
    start = 0
    for group in context.structure.groups:
        own = gates[start : start + group.width]
        start += group.width
        for part in group.slices:
            if part.role == "in":
                along = torch.ones(state[part.parameter].shape[part.axis], dtype=gates.dtype)
                index = torch.from_numpy(part.index)
                along = along.index_put((index.flatten(),), own.repeat_interleave(index.shape[1]))
                shape = [-1 if a == part.axis else 1 for a in range(state[part.parameter].dim())]
                factors[part.parameter] = factors[part.parameter] * along.reshape(shape)
    gated = {name: value.detach() * factors[name] for name, value in state.items()}
    data = list(context.batches())
    losses = [context.loss(functional_call(context.model, gated, (x,)), y) for x, y in data]
    return torch.stack(losses).mean()


def _concatenated(structure: Structure, scores: dict[str, Tensor]) -> Tensor:
    return torch.cat([scores[group.name] for group in structure.groups])


@pytest.fixture
def precise(context: Context) -> Context:
    data = [(x.double(), y) for x, y in context.batches()]  # type: ignore[misc]
    return dataclasses.replace(context, model=context.model.double().eval(), batches=lambda: data)


def test_many_probes_give_the_expansion_by_the_gates(precise: Context) -> None:
    ones = torch.ones(sum(precise.structure.widths.values()), dtype=torch.float64)
    first = jacrev(lambda gates: _gated_loss(precise, gates))(ones)
    second = hessian(lambda gates: _gated_loss(precise, gates))(ones).diagonal()
    scores = score_units(criterion("hessian:probes=400"), precise)
    ours = _concatenated(precise.structure, dict(scores))
    torch.testing.assert_close(ours, second / 2 - first, rtol=0.2, atol=0.1 * float(second.abs().max()))


def test_many_probes_give_the_diagonal_over_weights(precise: Context) -> None:
    assert precise.batches is not None and precise.loss is not None
    model, (inputs, targets) = precise.model, next(iter(precise.batches()))
    precise = dataclasses.replace(precise, batches=lambda: [(inputs, targets)])
    state = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weight: Tensor) -> Tensor:
        changed = state | {"a.weight": weight}
        return torch.nn.functional.cross_entropy(functional_call(model, changed, (inputs,)), targets)

    weight = state["a.weight"]
    full = hessian(loss)(weight).reshape(weight.numel(), weight.numel()).diagonal().reshape(weight.shape)
    expected = (full * weight.square()).flatten(1).sum(1) / 2
    bare = dataclasses.replace(
        precise.structure,
        groups=tuple(
            dataclasses.replace(g, slices=tuple(p for p in g.slices if p.parameter == "a.weight"))
            for g in precise.structure.groups
            if g.name == "a"
        ),
    )
    only = dataclasses.replace(precise, structure=bare)
    ours = score_units(criterion("hessian:diagonal=weights,probes=500"), only)["a"]
    assert float(torch.corrcoef(torch.stack([ours, expected]))[0, 1]) > 0.9


def test_agrees_with_removing_units_one_by_one() -> None:
    context = learned_context()
    scores = score_units(criterion("hessian:probes=30"), context)
    assert agreement(dict(scores), increases(context, learned_data())) > 0.85


@pytest.mark.parametrize("net", ["lstm", "gru-both-ways", "encoder", "grouped"])
def test_units_of_every_kind_agree_with_the_expansion(net: str) -> None:
    context = context_of(net)
    ones = torch.ones(sum(context.structure.widths.values()))
    with sdpa_kernel(SDPBackend.MATH):
        first = torch.autograd.functional.jacobian(lambda gates: _gated_loss(context, gates), ones)
        second = torch.autograd.functional.hessian(lambda gates: _gated_loss(context, gates), ones).diagonal()
    ours = _concatenated(context.structure, dict(score_units(criterion("hessian:probes=50"), context)))
    expected = (second / 2 - first).double()
    assert float(torch.corrcoef(torch.stack([ours, expected]))[0, 1]) > 0.9


@pytest.mark.parametrize("options", ["probes=0", "diagonal=unit"])
def test_options(options: str) -> None:
    with pytest.raises(CriterionError):
        criterion(f"hessian:{options}")
