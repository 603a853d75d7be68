from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from autoprune.cost import Call, Runtime, Setting, runtime_by_name
from autoprune.errors import ConfigError

MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
INPUTS = (torch.rand(1, 3, 5, 5), torch.zeros(1, dtype=torch.int64))


class Plain(Runtime):
    name = "plain"
    dtypes = ("float32",)
    channels_last = False

    def prepare(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Call:
        return lambda: None


def test_without_a_wish_the_model_itself_is_run() -> None:
    model, inputs = Setting().form(MODEL, INPUTS)
    assert model is MODEL
    assert inputs is INPUTS


def test_type_and_layout_are_given_to_copies() -> None:
    model, (image, label) = Setting(dtype="bfloat16", channels_last=True).form(MODEL, INPUTS)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert image.dtype is torch.bfloat16
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert label.dtype is torch.int64
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert MODEL[0].weight.dtype is torch.float32
    assert MODEL[0].weight.is_contiguous()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"dtype": "bfloat16"}, "the runtime plain times no bfloat16: use one of float32"),
        ({"channels_last": True}, "leave channels_last out"),
    ],
)
def test_what_the_runtime_cannot_do_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Setting(Plain(), **settings)


@pytest.mark.skipif(
    time.get_clock_info("process_time").resolution > 1e-6, reason="this system counts CPU time coarsely"
)
def test_one_thread_in_this_process_is_timed_by_its_cpu_time() -> None:
    inputs = (torch.rand(1, 3),)
    assert Setting(threads=1).stopwatch(inputs) is time.process_time_ns
    assert Setting(threads=2).stopwatch(inputs) is time.perf_counter_ns
    program = runtime_by_name("command:true {file}")
    assert Setting(program, threads=1).stopwatch(inputs) is time.perf_counter_ns
    assert Setting(threads=1).stopwatch((torch.rand(1, 3, device="meta"),)) is time.perf_counter_ns
