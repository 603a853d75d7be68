from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.cost import Call, CostModel, Meter, Profile, Runtime, Setting
from autoprune.cost.latency.profile import (
    load_profile,
    profile_key,
    profiled,
    random_widths,
    sampled,
    save_profile,
)
from autoprune.errors import ConfigError, ModelError, TrialError
from autoprune.structure import Structure

INPUTS = (torch.rand(1, 3, 8, 8),)


class Twins(nn.Module):
    """Two branches that do the same work, and a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)) for _ in range(2)
        )
        self.hidden = nn.Linear(8, 12)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.left(x), self.right(x)], 1).mean((2, 3))
        return self.head(torch.relu(self.hidden(both)))


class Counted(Runtime):
    """A device on paper, whose latency is the model's FLOPs."""

    name = "counted"

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        self.prepared += 1
        structure = autoprune.discover(model, inputs)
        flops = CostModel.of(structure, model).flops(structure.widths)
        return lambda: flops * 1e-6


def subject() -> tuple[nn.Module, Structure, Meter]:
    model = Twins().eval()
    meter = Meter(model, INPUTS, Setting(Counted(), threads=1, max_seconds=0.01), warmup=0.0)
    return model, autoprune.discover(model, INPUTS), meter


@pytest.fixture(scope="module")
def profile() -> Profile:
    model, structure, meter = subject()
    latency_steps = dict(profiled(model, structure, meter))
    return Profile(meter.fingerprint, 1e-3, latency_steps, tuple(sampled(model, structure, meter, count=3)))


def test_every_group_gets_its_curve_and_equal_ones_are_measured_once() -> None:
    model, structure, meter = subject()
    latency_steps = dict(profiled(model, structure, meter))
    assert list(latency_steps) == [group.name for group in structure.groups]
    assert latency_steps["left.0"] is latency_steps["right.0"]
    assert latency_steps["left.0"] is not latency_steps["hidden"]
    costs = CostModel.of(structure, model)
    full = costs.flops(structure.widths)
    for name, steps in latency_steps.items():
        assert steps.ratios[-1] == 1.0
        for width, ratio in zip(steps.widths, steps.ratios, strict=True):
            assert ratio == pytest.approx(costs.flops({**structure.widths, name: width}) / full)
    measured = sum(len(steps.widths) - 1 for steps in {id(s): s for s in latency_steps.values()}.values())
    assert meter.setting.runtime.prepared == 1 + measured


class Picky(Counted):
    """A device that lacks an operator for some widths of the hidden layer, and is unplugged after a while."""

    def __init__(self, wrong: Callable[[int], bool], lasts: int = 10**9) -> None:
        super().__init__()
        self.wrong, self.lasts = wrong, lasts

    def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        call = super().prepare(model, inputs)
        if self.wrong(model.hidden.out_features):
            raise TrialError("there is no operator for this width")

        def timed() -> float:
            if self.prepared > self.lasts:
                raise TrialError("no device found")
            return call()

        return timed


def picky_subject(runtime: Runtime) -> tuple[nn.Module, Structure, Meter]:
    model = Twins().eval()
    return model, autoprune.discover(model, INPUTS), Meter(model, INPUTS, Setting(runtime, threads=1))


def test_cuts_that_do_not_run_are_left_out_with_the_reason() -> None:
    model, structure, meter = picky_subject(Picky(lambda width: width % 4 == 2))
    reasons: list[str] = []
    latency_steps = dict(profiled(model, structure, meter, failed=reasons.append))
    assert latency_steps.keys() == structure.widths.keys()
    assert latency_steps["hidden"].widths
    assert all(width % 4 != 2 for width in latency_steps["hidden"].widths)
    samples = list(sampled(model, structure, meter, count=12, failed=reasons.append))
    assert 0 < len(samples) < 12
    assert all(sample.widths["hidden"] % 4 != 2 for sample in samples)
    assert set(reasons) == {"there is no operator for this width"}


def test_a_device_that_is_gone_ends_the_profile() -> None:
    model, structure, meter = picky_subject(Picky(lambda _: False, lasts=4))
    with pytest.raises(ModelError, match=r"^the original model cannot be timed: no device found$"):
        list(profiled(model, structure, meter))


def test_a_file_gives_the_profile_back(profile: Profile, tmp_path: Path) -> None:
    file = tmp_path / "new" / "profile.json"
    assert load_profile(file) is None
    save_profile(profile, file)
    assert load_profile(file) == profile
    assert [entry.name for entry in file.parent.iterdir()] == ["profile.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 99}', '{"schema": 1, "device": {}}'])
def test_a_file_that_holds_something_else_is_said(tmp_path: Path, content: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot read the latency profile .*profile\.json: delete it"):
        load_profile(file)


def test_the_key_stands_for_model_groups_and_device() -> None:
    model, structure, meter = subject()
    key = profile_key(model, structure, meter.fingerprint)
    assert profile_key(Twins(), autoprune.discover(model, INPUTS), meter.fingerprint) == key
    other = Meter(model, INPUTS, Setting(threads=1))
    assert profile_key(model, structure, other.fingerprint) != key
    fewer = autoprune.restrict(structure, skip=("hidden",))
    assert profile_key(model, fewer, meter.fingerprint) != key


def test_what_is_known_is_not_timed_again(profile: Profile) -> None:
    model, structure, meter = subject()
    first, *others = profile.latency_steps
    found = dict(profiled(model, structure, meter, {first: profile.latency_steps[first]}))
    assert first not in found
    assert set(found) == set(others)
    assert list(profiled(model, structure, meter, profile.latency_steps)) == []


def test_random_plans_are_timed_whole_and_repeat_by_seed(profile: Profile) -> None:
    model, structure, meter = subject()
    costs = CostModel.of(structure, model)
    full = costs.flops(structure.widths)
    for sample in profile.samples:
        assert sample.ratio == pytest.approx(costs.flops(sample.widths) / full)
    assert tuple(sampled(model, structure, meter, count=3)) == profile.samples
    assert next(iter(sampled(model, structure, meter, seed=1))) != profile.samples[0]


def test_random_widths_are_possible_and_of_one_step() -> None:
    _, structure, _ = subject()
    generator = np.random.default_rng(0)
    drawn = [random_widths(structure, generator) for _ in range(120)]
    for widths in drawn:
        assert widths.keys() == structure.widths.keys()
        assert all(1 <= width <= structure.widths[name] for name, width in widths.items())
    assert len({tuple(widths.values()) for widths in drawn}) > 25
    aligned = [widths for widths in drawn if all(width % 4 == 0 for width in widths.values())]
    # A quarter of the draws each for steps of 4, 8 and 16, none of them with a layer of a single channel.
    assert len(aligned) > 0.6 * len(drawn)
