import numpy as np
import pytest
import torch
from torch import nn

from autoprune.tasks import TensorSplit, classification, evaluate, regression
from autoprune.tasks.noise import bootstrap, wilson


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    noise = wilson(0.5, 10)
    assert (noise.low, noise.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert noise.error == pytest.approx(0.1581, abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.999])
def test_the_interval_holds_the_estimate_and_stays_a_share(share: float) -> None:
    noise = wilson(share, 50)
    assert 0 <= noise.low <= share <= noise.high <= 1
    assert noise.high - noise.low > 0.05


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    shares = rng.binomial(400, 0.92, size=1000) / 400
    covered = sum((noise := wilson(share, 400)).low <= 0.92 <= noise.high for share in shares)
    assert 930 <= covered <= 975


def test_the_bootstrap_finds_the_error_of_a_mean() -> None:
    blocks = np.random.default_rng(1).normal(3.0, 0.5, size=32)
    noise = bootstrap(3.0, blocks.tolist())
    assert noise is not None
    assert noise.error == pytest.approx(0.5 / 32**0.5, rel=0.3)
    assert noise.low < 3.0 < noise.high
    assert noise == bootstrap(3.0, blocks.tolist())


def test_nothing_is_made_up_from_one_block_or_from_nan() -> None:
    assert bootstrap(1.0, [1.0]) is None
    assert bootstrap(1.0, [1.0, float("nan")]) is None


def test_accuracy_is_binomial_and_an_error_is_bootstrapped() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(640, 3, generator=generator)
    model = nn.Identity()
    score = evaluate(model, TensorSplit(inputs, inputs.argmax(1)), classification(3))
    assert score.blocks == ()
    assert score.noise(classification(3)) == wilson(1.0, 640)

    noisy = inputs + torch.randn(640, 3, generator=generator)
    score = evaluate(model, TensorSplit(inputs, noisy), regression(), batch_size=200)
    noise = score.noise(regression())
    assert noise is not None
    assert len(score.blocks) == 32
    # The squared error of a standard normal deviation has a variance of 2.
    assert noise.error == pytest.approx((2 / (640 * 3)) ** 0.5, rel=0.35)
    assert noise.low < score.value < noise.high


def test_scoring_ends_when_it_is_enough() -> None:
    inputs = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    split = TensorSplit(inputs, inputs.argmax(1))
    score = evaluate(
        nn.Identity(), split, classification(3), batch_size=20, enough=lambda sofar: sofar.samples >= 40
    )
    assert score.samples == 40
