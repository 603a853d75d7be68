from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.cost import Meter, Setting, runtime_by_name
from autoprune.cost.latency.group_shares import narrowed
from autoprune.cost.latency.runtimes import onnx_runtime
from autoprune.structure import Structure

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="needs the extra onnx")


class Mobile(nn.Module):
    """Convolutions, a depthwise one, normalisation, and a head behind a reshape."""

    def __init__(self, *, baked: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)
        self.scale = nn.Parameter(torch.rand(16, 1, 1)) if baked else None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.deep(torch.relu(self.norm(self.stem(x)))))
        if self.scale is not None:
            x = x * self.scale.transpose(1, 2).exp()
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def subject(model: nn.Module) -> tuple[nn.Module, Structure, Meter]:
    images = torch.rand(2, 3, 8, 8)
    setting = Setting(runtime_by_name("onnxruntime"), threads=1, max_seconds=0.02)
    meter = Meter(model.eval(), (images,), setting, warmup=0.0, cuts=True)
    return model, autoprune.discover(model, images), meter


def test_cut_copies_are_timed_without_another_export(monkeypatch: pytest.MonkeyPatch) -> None:
    model, structure, meter = subject(Mobile())
    meter.measure(model)

    def refuse(*_: object) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(onnx_runtime, "onnx_file", refuse)
    for width in (3, 8):
        assert meter.measure(narrowed(model, structure, {"stem": width})).ratio > 0


def test_sessions_have_the_shapes_of_the_cut_model() -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    from autoprune.cost.latency.runtimes.onnx_program import onnx_file
    from autoprune.cost.latency.runtimes.onnx_resized import resized, shapes_of

    model, structure, meter = subject(Mobile())
    cut = narrowed(model, structure, {"stem": 6})
    with onnx_file(model, meter.inputs) as path:
        original = onnx.load(path)
    program = resized(original, cut)
    dims = {initializer.name: tuple(initializer.dims) for initializer in program.graph.initializer}
    assert dims["stem.weight"] == (6, 3, 3, 3)
    assert dims["deep.weight"] == (6, 1, 3, 3)
    assert dims["head.weight"] == (5, 6)
    onnx.checker.check_model(program, full_check=True)
    feeds = {program.graph.input[0].name: meter.inputs[0].numpy()}
    (output,) = ReferenceEvaluator(program).run(None, feeds)
    assert output.shape == next(iter(shapes_of(original).values())) == (2, 5)


def test_a_width_that_the_exporter_wrote_into_the_program_is_exported_after_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, structure, meter = subject(Mobile(baked=True))
    exports = []
    usual = onnx_runtime.onnx_file
    monkeypatch.setattr(onnx_runtime, "onnx_file", lambda *args: exports.append(args) or usual(*args))
    meter.measure(model)
    before = len(exports)
    assert meter.measure(narrowed(model, structure, {"stem": 4})).ratio > 0
    assert len(exports) == before + 1


class Coded(Mobile):
    """One layer has a name that torch's programs keep for themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.code = self.deep
        del self.deep

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.code(torch.relu(self.norm(self.stem(x)))))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def test_a_layer_may_have_a_name_that_torch_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, structure, meter = subject(Coded())
    meter.measure(model)
    monkeypatch.delattr(onnx_runtime, "onnx_file")
    (group,) = structure.groups
    assert meter.measure(narrowed(model, structure, {group.name: 3})).ratio > 0
