"""A slice of ``studies/layout``: what random networks give with the internal layout, and without it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "studies" / "layout"))

from networks import data, internal_layout, network

from autoprune.recovery import Recipe, finetune, recalibrate
from autoprune.tasks import evaluate

RECIPE = Recipe(steps=3, lr=0.02, batch_size=16)


@pytest.mark.parametrize("seed", range(20))
def test_training_and_scoring_give_the_same(seed: int) -> None:
    model, samples = network(seed), data(seed)
    found = []
    for used in (False, True):
        own = copy.deepcopy(model)
        with internal_layout(used=used) as verdicts:
            recalibrate(own, [inputs for inputs, _ in samples.train.batches(32)])
            finetune(own, samples, RECIPE, seed=seed)
            score = evaluate(own, samples.validation, samples.task)
        found.append((score, own.state_dict()))
        # Odd ones look at strides.
        assert not any(verdicts) or (used and seed % 2 == 0)
    (plain, expected), (fast, weights) = found
    assert fast.value == plain.value
    exact = 0.0 if seed % 2 else 1e-5
    assert fast.loss == pytest.approx(plain.loss, rel=exact, abs=0)
    torch.testing.assert_close(weights, expected, rtol=exact, atol=exact)
    assert [tensor.stride() for tensor in weights.values()] == [
        tensor.stride() for tensor in expected.values()
    ]


def test_most_networks_that_do_not_look_at_strides_run_with_the_layout() -> None:
    used = 0
    for seed in range(0, 20, 2):
        with internal_layout(used=True) as verdicts:
            evaluate(network(seed), data(seed).validation, data(seed).task)
        used += all(verdicts) and bool(verdicts)
    assert used >= 6
