from __future__ import annotations

import importlib.util
import re
import time
from dataclasses import replace
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from autoprune.cost import Setting
from autoprune.errors import ExportError, MissingExtraError, UserError
from autoprune.export import FORMATS, default_formats, export_candidate
from autoprune.export.subject import subject_of

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)


@pytest.fixture(scope="module")
def prepared(candidate):
    generator = torch.Generator().manual_seed(3)
    batches = [torch.randn(16, 1, 8, 8, generator=generator) for _ in range(4)]

    def quality(model: nn.Module) -> float:
        with torch.no_grad():
            expected = candidate.model.eval()(batches[0]).argmax(1)
            found = model(batches[0]).argmax(1)
        candidate.model.train()
        return float((found == expected).double().mean())

    return replace(candidate, spec=None, calibration=batches, quality=quality, metric="agreement")


def test_eight_bits_hold_the_weights_in_integers_and_say_what_they_cost(prepared, card, tmp_path):
    (written,) = export_candidate(prepared, card, "", tmp_path, ["int8"])
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    int8 = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) == 4 for tensor in int8) >= 3
    found = re.fullmatch(
        r"calibrated on 64 samples; agreement (\d\.\d+), without quantization 1\.0000", written.note
    )
    assert found is not None and float(found[1]) > 0.8
    assert 0 < written.max_difference < 1
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_eight_bits_need_calibration_data(candidate, card, tmp_path):
    with pytest.raises(UserError, match="int8 needs calibration data"):
        export_candidate(candidate, card, "", tmp_path / "out", ["int8"])
    assert not (tmp_path / "out").exists()


@needs_openvino
def test_openvino_equals_the_pruned_model_for_any_batch(prepared, card, tmp_path, monkeypatch):
    (written,) = export_candidate(prepared, card, "", tmp_path, ["openvino"])
    assert written.note == "any batch size"
    assert written.max_difference < 1e-4
    assert {"model.xml", "model.bin"} <= {path.name for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["outputs"][0].shape == (1, 3)


def test_each_file_is_timed_in_what_runs_it(prepared, card, tmp_path):
    formats = ["state", "pt2", "onnx", "int8"]
    written = export_candidate(
        prepared, card, "", tmp_path, formats, timing=Setting(threads=1, max_seconds=0.05)
    )
    assert {item.latency.fingerprint.threads for item in written} == {1}
    runtimes = [item.latency.fingerprint.runtime for item in written]
    assert runtimes == ["eager", "torch.export program", "onnxruntime", "onnxruntime"]
    for item in written:
        assert 0 < item.latency.ratio_low <= item.latency.ratio <= item.latency.ratio_high
        assert "of the original model's (95 % interval" in str(item)
    text = (tmp_path / "README.md").read_text()
    assert text.count("one sample takes") == len(formats)


def test_files_are_timed_as_models_are(prepared, tmp_path):
    subject = subject_of(prepared.model, prepared.example)
    timed = {
        name: Setting(FORMATS[name].runtime(subject, prepared, tmp_path), threads=1).stopwatch(())
        for name in ("state", "pt2", "onnx", "int8", "torchscript")
    }
    assert set(timed.values()) == {time.process_time_ns}


def test_only_the_usual_formats_are_written_by_default():
    assert not {"python", "int8", "openvino"} & set(default_formats())


def test_torchscript_equals_the_pruned_model_for_any_batch(prepared, card, tmp_path):
    (written,) = export_candidate(
        prepared, card, "", tmp_path, ["torchscript"], timing=Setting(max_seconds=0.1)
    )
    assert written.note == "any batch size"
    assert written.max_difference < 1e-5
    assert written.latency is not None and written.latency.fingerprint.runtime == "TorchScript"
    module = torch.jit.load(tmp_path / "model.ts.pt")
    assert module(torch.randn(7, 1, 8, 8)).shape == (7, 3)
    text = (tmp_path / "README.md").read_text()
    assert 'torch.jit.load("model.ts.pt")' in text
    assert "in TorchScript" in text


def test_torchscript_of_a_model_that_cannot_be_traced_says_what_to_do(prepared, card, tmp_path):
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"out": x.sum(), "rest": None}

    odd = replace(prepared, model=Odd(), calibration=())
    with pytest.raises(ExportError, match=r"TorchScript cannot trace the model: .*use pt2"):
        export_candidate(odd, card, "", tmp_path / "out", ["torchscript"])
    assert not (tmp_path / "out").exists()


def test_executorch_equals_the_pruned_model_for_one_sample(prepared, card, tmp_path):
    pytest.importorskip("executorch", reason="executorch is not installed")
    (written,) = export_candidate(
        prepared, card, "", tmp_path, ["executorch"], timing=Setting(max_seconds=0.1)
    )
    assert written.note.startswith("batch size fixed at 1")
    assert written.max_difference < 1e-4
    assert written.latency is not None and written.latency.fingerprint.runtime == "executorch"
    assert "in executorch" in (tmp_path / "README.md").read_text()


def test_executorch_is_an_extra(prepared, card, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "executorch" else found(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'autoprune\[executorch\]'"):
        export_candidate(prepared, card, "", tmp_path, ["executorch"])
