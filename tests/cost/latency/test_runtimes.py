from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autoprune.config.references import parse_runtime
from autoprune.config.user_code import Permit
from autoprune.cost import Latency, Meter, Setting, runtime_by_name
from autoprune.errors import ConfigError, MissingExtraError, TrialError

IMAGES = (torch.rand(2, 3, 16, 16),)
has_onnx = pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="needs the extra onnx")
has_openvino = pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="needs the extra openvino")
NAMES = [
    "eager",
    pytest.param("onnxruntime", marks=has_onnx),
    pytest.param("openvino", marks=has_openvino),
]


def net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 4),
    ).train()


def timed(name: str, candidate: nn.Module, reference: nn.Module, **settings: object) -> Latency:
    setting = Setting(runtime_by_name(name), threads=1, max_seconds=0.1, **settings)
    return Meter(reference, IMAGES, setting, warmup=0.01).measure(candidate)


@pytest.mark.parametrize("name", NAMES)
def test_a_much_smaller_model_is_quicker(name: str) -> None:
    small, large = net(2), net(96)
    before = {key: tensor.clone() for key, tensor in large.state_dict().items()}
    latency = timed(name, small, large)
    assert 0 < latency.ratio_low <= latency.ratio <= latency.ratio_high < 1
    assert 0 < latency.seconds < latency.reference_seconds
    assert latency.fingerprint.runtime == name
    assert bool(latency.fingerprint.runtime_version) == (name != "eager")
    assert large.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in large.state_dict().items())


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("eager", "bfloat16"),
        pytest.param("onnxruntime", "float16", marks=has_onnx),
        pytest.param("openvino", "bfloat16", marks=has_openvino),
    ],
)
def test_other_floating_types(name: str, dtype: str) -> None:
    latency = timed(name, net(2), net(8), dtype=dtype)
    assert latency.seconds > 0
    assert latency.fingerprint.dtype == dtype
    assert dtype in latency.fingerprint.inputs


def test_channels_last_in_eager() -> None:
    assert timed("eager", net(2), net(8), channels_last=True).fingerprint.channels_last


class Twice(nn.Module):
    """Two inputs, of which one is whole numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(10, width), nn.Linear(3, width)

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        return torch.relu(self.layer(x)) * self.table(indices)


@pytest.mark.parametrize("name", NAMES)
def test_several_inputs(name: str) -> None:
    inputs = torch.rand(2, 3), torch.zeros(2, dtype=torch.int64)
    meter = Meter(Twice(64), inputs, Setting(runtime_by_name(name), threads=1, max_seconds=0.05), warmup=0.0)
    assert meter.measure(Twice(2)).seconds > 0
    assert meter.fingerprint.inputs == "2x3 float32, 2 int64"


class Exotic(nn.Module):
    """An operator that few runtimes know."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.i0e(x)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("onnxruntime", "the operator .*i0e has no ONNX form", marks=has_onnx),
        pytest.param(
            "openvino", "OpenVINO cannot run the model: it has no rule for .*i0e", marks=has_openvino
        ),
    ],
)
def test_an_operator_that_the_runtime_lacks_is_named(name: str, message: str) -> None:
    meter = Meter(net(2), IMAGES, Setting(runtime_by_name(name), threads=1, max_seconds=0.05))
    with pytest.raises(TrialError, match=message) as caught:
        meter.measure(Exotic())
    assert "\n" not in str(caught.value)
    # It fails alone: the next candidate is measured as ever.
    assert meter.measure(net(2)).seconds > 0


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_compile_says_what_it_cannot_follow() -> None:
    with pytest.raises(TrialError, match=r"torch\.export cannot follow the model"):
        runtime_by_name("compile").prepare(Branching(), IMAGES)


def test_compiled_models_run() -> None:
    runtime = runtime_by_name("compile")
    try:
        call = runtime.prepare(nn.Linear(4, 4).eval(), (torch.rand(2, 4),))
    except TrialError as error:
        pytest.skip(str(error))  # no C++ compiler
    assert call() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu() -> None:
    with pytest.raises(ConfigError, match="choose another --runtime"):
        runtime_by_name("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_keeps_its_own_time() -> None:
    latency = timed("cuda", net(2), net(96))
    assert latency.seconds > 0
    assert latency.fingerprint.accelerator == torch.cuda.get_device_name()


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed_names_its_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'autoprune\[{extra}\]'"):
        runtime_by_name(name)


def program(folder: Path, text: str) -> str:
    file = folder / "measure me.py"
    file.write_text(text)
    return f"command:{sys.executable} '{file}'"


SIZE = "import os, sys\nprint('warming up')\nprint(os.path.getsize(sys.argv[1]) / 1000, 'ms')"


@has_onnx
def test_a_program_times_the_files_of_both_models(tmp_path: Path) -> None:
    small, large = net(2), net(16)
    latency = timed(program(tmp_path, SIZE), small, large)
    assert latency.ratio == pytest.approx(latency.seconds / latency.reference_seconds)
    assert latency.ratio < 1
    assert latency.reference_seconds * 1e6 > sum(4 * p.numel() for p in large.parameters())
    assert latency.repeats >= 3


def test_a_program_may_ask_for_a_torch_program_anywhere_on_its_line(tmp_path: Path) -> None:
    text = "import sys, zipfile as z\nassert sys.argv[2] == 'last' and z.is_zipfile(sys.argv[1])\nprint(3)"
    runtime = runtime_by_name(program(tmp_path, text) + " {pt2} last")
    call = runtime.prepare(net(2).eval(), IMAGES)
    assert call() == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('fast')", "ended with the line 'fast': print the milliseconds"),
        ("print('nan')", "'nan'"),
        ("print('inf')", "'inf'"),
        ("print(0)", "'0'"),
        ("print(-3)", "'-3'"),
        ("pass", "ended with the line ''"),
        ("import sys; print(3); sys.exit('no phone')", "exit code 1: no phone"),
        ("import time; print(3, flush=True); time.sleep(60)", "not done within 2 s"),
        ("while True: print('x' * 1000)", "not done within 2 s"),
    ],
)
def test_a_program_that_gives_no_time_fails_the_trial(tmp_path: Path, text: str, message: str) -> None:
    from autoprune.cost.latency.runtimes import CommandRuntime

    named = parse_runtime(program(tmp_path, text) + " {pt2}")
    runtime = CommandRuntime(named, Permit.naming(named), seconds=2.0)
    with pytest.raises(TrialError, match=message):
        runtime.prepare(nn.Linear(4, 4).eval(), (torch.rand(2, 4),))()


@pytest.mark.parametrize("name", ["command:", "command:no-such-program-at-all", "command:'open"])
def test_a_program_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError):
        runtime_by_name(name)
