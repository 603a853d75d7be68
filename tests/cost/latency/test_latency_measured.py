from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoprune.cost import Call, Latency, Meter, Runtime, Setting, runtime_by_name
from autoprune.errors import ConfigError, TrialError


def stack(layers: int) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(256, 256) for _ in range(layers)])


INPUTS = (torch.rand(16, 256),)
ONE_THREAD = Setting(threads=1)


@pytest.fixture(scope="module")
def quadruple() -> Latency:
    # A wide tolerance ends this soon on a calm machine, and the cap leaves time on a busy one.
    return Meter(stack(8), INPUTS, replace(ONE_THREAD, max_seconds=5.0), tolerance=0.25).measure(stack(32))


def test_four_times_the_work_takes_longer(quadruple: Latency) -> None:
    assert quadruple.ratio > 1.5
    assert quadruple.ratio_low <= quadruple.ratio <= quadruple.ratio_high
    assert quadruple.seconds > quadruple.reference_seconds > 0
    assert quadruple.repeats >= 3


def test_fingerprint_says_how_it_was_measured(quadruple: Latency) -> None:
    assert (quadruple.fingerprint.runtime, quadruple.fingerprint.threads) == ("eager", 1)
    assert quadruple.fingerprint.accelerator == ""


class Probe(nn.Module):
    """Notes the state it is called in."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.seen: set[tuple[bool, bool, int]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((self.dropout.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
        return x @ x.T


def test_models_run_in_eval_and_inference_mode_with_the_threads_and_are_left_as_they_were() -> None:
    probe, reference = Probe(), Probe().eval()
    probe.dropout.eval()
    before = torch.get_num_threads()
    Meter(reference, INPUTS, Setting(threads=before + 1, max_seconds=0.02), warmup=0.0).measure(probe)
    assert probe.seen == reference.seen == {(False, True, before + 1)}
    assert torch.get_num_threads() == before
    assert probe.training
    assert not probe.dropout.training
    assert not reference.training


def test_a_runtime_of_ones_own() -> None:
    prepared: list[nn.Module] = []

    class Counting(Runtime):
        name = "counting"

        def prepare(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
            prepared.append(model)
            return lambda: sum(range(1000)) and None

    candidate, reference = nn.Identity(), nn.Identity()
    meter = Meter(reference, (), Setting(Counting(), threads=1, max_seconds=0.05), warmup=0.0)
    latency = meter.measure(candidate)
    assert prepared == [reference, candidate]
    assert latency.fingerprint.runtime == "counting"
    meter.measure(candidate)
    meter.measure(reference)
    assert prepared == [reference, candidate, candidate]


def test_unknown_runtime() -> None:
    with pytest.raises(ConfigError, match="eager"):
        runtime_by_name("abacus")


@pytest.mark.parametrize(
    "settings", [{"tolerance": 0.0}, {"setting": Setting(max_seconds=0.0)}, {"warmup": -1.0}]
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Meter(stack(1), INPUTS, **settings).measure(stack(1))


def test_model_that_does_not_run_is_named_and_everything_is_restored() -> None:
    before = torch.get_num_threads()
    reference = stack(1).train()
    with pytest.raises(TrialError, match="the candidate does not run") as caught:
        Meter(reference, INPUTS, Setting(threads=before + 1)).measure(nn.Linear(3, 3))
    assert "\n" not in str(caught.value)
    assert torch.get_num_threads() == before
    assert reference.training
    with pytest.raises(TrialError, match="the reference does not run"):
        Meter(nn.Linear(3, 3), INPUTS, ONE_THREAD).measure(reference)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_is_waited_for() -> None:
    inputs = (torch.rand(1024, 1024, device="cuda"),)
    wide = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(64)]).cuda()
    narrow = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(8)]).cuda()
    latency = Meter(narrow, inputs, Setting(max_seconds=5.0), tolerance=0.25).measure(wide)
    assert latency.ratio > 1.5
    assert latency.fingerprint.accelerator == torch.cuda.get_device_name()
