from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.cost import CostModel, DeviceFingerprint, Predictor, Profile, accuracy
from autoprune.cost.latency.device_fingerprint import fingerprint_of
from autoprune.cost.latency.prediction import FOLDS, cross_validated, worth_offering
from autoprune.cost.latency.profile import Sample, random_widths
from autoprune.cost.latency.setting import Setting
from autoprune.cost.latency.steps import LatencySteps, top_edges
from autoprune.cost.workload import Workload
from autoprune.structure import Structure

IMAGE = torch.rand(1, 3, 8, 8)


class Net(nn.Module):
    """A chain, a depthwise convolution, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.wide = nn.Conv2d(32, 48, 3, padding=1)
        self.deep = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.norm = nn.BatchNorm2d(48)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.wide(torch.relu(self.stem(x))))
        return self.head(torch.relu(self.norm(self.deep(x))).mean((2, 3)))


@cache
def subject() -> tuple[nn.Module, Structure]:
    model = Net().eval()
    return model, autoprune.discover(model, IMAGE)


def fingerprint() -> DeviceFingerprint:
    return fingerprint_of(Setting(threads=1), subject()[0], (IMAGE,))


def seconds(widths: Mapping[str, int]) -> float:
    """A device on paper: FLOPs, half as much again for a width that is no multiple of 8, and a constant."""
    stem, wide = widths["stem"], widths["wide"]
    first = 64 * 27 * stem * (1.5 if stem % 8 else 1.0)
    second = 64 * 9 * stem * wide * (1.5 if wide % 8 else 1.0)
    return 20_000 + first + second + 64 * 9 * wide + 10 * wide


def on_paper(count: int, noise: float = 0.0) -> Profile:
    _, structure = subject()
    full, generator = structure.widths, np.random.default_rng(5)

    def ratio(widths: Mapping[str, int]) -> float:
        return seconds(widths) / seconds(full) * float(1 + noise * generator.normal())

    latency_steps = {}
    for name, width in full.items():
        widths = tuple(range(4, width, 4)) + (width - 1, width)
        latency_steps[name] = LatencySteps(
            widths, tuple(ratio({**full, name: w}) for w in widths[:-1]) + (1.0,), 0.001
        )
    drawn = [random_widths(structure, generator) for _ in range(count)]
    return Profile(
        fingerprint(), 1e-3, latency_steps, tuple(Sample(widths, ratio(widths)) for widths in drawn)
    )


def test_plans_that_were_never_timed_are_predicted_with_their_cliffs() -> None:
    _, structure = subject()
    predictor = Predictor.of(structure, on_paper(30))
    assert predictor.ratio(structure.widths) == pytest.approx(1.0, abs=0.005)
    generator = np.random.default_rng(9)
    for widths in (random_widths(structure, generator) for _ in range(40)):
        assert predictor.ratio(widths) == pytest.approx(seconds(widths) / seconds(structure.widths), rel=0.03)
    full = structure.widths
    assert predictor.ratio({**full, "wide": 47}) > 1.2 > 1.0 > predictor.ratio({**full, "wide": 40})


def test_many_plans_at_once_are_as_many_single_ones() -> None:
    _, structure = subject()
    predictor = Predictor.of(structure, on_paper(10))
    generator = np.random.default_rng(2)
    plans = [random_widths(structure, generator) for _ in range(5)]
    rows = np.concatenate([predictor.workload.vector(widths) for widths in plans])
    assert predictor.ratios(rows).tolist() == pytest.approx([predictor.ratio(widths) for widths in plans])


def test_the_error_is_that_of_plans_that_were_left_out() -> None:
    _, structure = subject()
    clean, noisy = (cross_validated(structure, on_paper(40, noise)) for noise in (0.0, 0.05))
    assert clean is not None and noisy is not None
    assert clean.plans == 40
    assert clean.error < 0.02 < noisy.error < 0.1
    assert clean.tau > 0.95
    assert cross_validated(structure, on_paper(2 * FOLDS - 1)) is None


def test_accuracy_compares_the_same_plans() -> None:
    found = accuracy([1.1, 0.5, 0.2], [1.0, 0.5, 0.25])
    assert (found.error, found.tau, found.plans) == (pytest.approx(0.1), pytest.approx(1.0), 3)


def test_features_count_the_work_of_every_product_relative_to_the_original_model() -> None:
    model, structure = subject()
    workload = Workload.of(structure)
    full = structure.widths
    (whole,) = workload.features(workload.vector(full))
    assert whole[0] == 1.0
    assert set(np.unique(whole)) <= {0.0, 1.0}, "all widths are multiples of 16: nothing is uneven"
    (half,) = workload.features(workload.vector({"stem": 16, "wide": 24}))
    assert {0.25, 0.5} <= set(half.tolist())
    (odd,) = workload.features(workload.vector({"stem": 31, "wide": 48}))
    assert (odd > whole).sum() > 4
    assert CostModel.of(structure, model).groups == workload.groups


def test_widths_worth_having_are_the_top_edges_of_what_plans_take() -> None:
    _, structure = subject()
    offered = worth_offering(structure, on_paper(30))
    half = {name: width // 2 for name, width in structure.widths.items()}
    for name, full in structure.widths.items():
        widths = range(1, full + 1)
        assert offered[name] == top_edges(widths, [seconds({**half, name: width}) for width in widths])
    # Between multiples of eight this layer takes longer than at the next one.
    assert offered["wide"][-5:] == (16, 24, 32, 40, 48)
