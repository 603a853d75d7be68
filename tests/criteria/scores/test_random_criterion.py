from __future__ import annotations

import dataclasses

import torch

from autoprune.criteria import Context, criterion, score_units


def test_same_seed_same_scores(context: Context) -> None:
    torch.manual_seed(1)
    first = score_units(criterion("random"), context)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = score_units(criterion("random"), context)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_seed_other_scores(context: Context) -> None:
    first = score_units(criterion("random"), context)
    other = score_units(criterion("random"), dataclasses.replace(context, seed=1))
    assert all(not torch.equal(first[name], other[name]) for name in first)
    assert all(len(set(scores.tolist())) == len(scores) for scores in first.values())
