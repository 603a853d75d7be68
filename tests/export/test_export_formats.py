from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import replace

import onnx
import pytest
import safetensors.torch
import torch
from small_export_net import FixedBatch, cut_every_group, shifted_net
from torch import nn

from autoprune.errors import ExportError, MissingExtraError, UserError
from autoprune.export import FORMATS, ExportCandidate, default_formats, export_candidate, load_exported
from autoprune.export.subject import subject_of
from autoprune.structure import Plan
from autoprune.tasks import save_weights


def test_every_format_equals_the_pruned_model_in_a_fresh_process(export):
    assert [item.format for item in export.exported] == ["state", "pt2", "onnx"]
    state, pt2, onnx_file = export.exported
    assert state.max_difference < 1e-5 and "small_export_net.py:small_net" in state.note
    assert pt2.max_difference < 1e-5 and pt2.note == "any batch size"
    assert onnx_file.max_difference < 1e-4 and onnx_file.note == "any batch size"
    assert all(item.path.is_file() and item.path.parent == export.folder for item in export.exported)
    assert str(pt2).startswith(f"{export.folder / 'model.pt2'}: largest difference ")


def test_export_prints_nothing(export):
    assert export.printed == ""


def test_the_folder_holds_what_was_asked_for_and_nothing_else(export, candidate):
    names = {"README.md", "config.toml", "loader.py", "plan.json"}
    names |= {"model.onnx", "model.pt2", "model.safetensors"}
    assert {path.name for path in export.folder.iterdir()} == names
    assert Plan.from_json((export.folder / "plan.json").read_text()) == candidate.plan
    assert (export.folder / "config.toml").read_text() == 'data = "digits"\nseed = 3\n'
    stored = safetensors.torch.load_file(export.folder / "model.safetensors")
    state = candidate.model.state_dict()
    assert set(stored) == set(state)
    assert all(torch.equal(stored[name], state[name]) for name in state)


def test_the_program_takes_any_batch_and_holds_no_samples(export, candidate):
    program = torch.export.load(export.folder / "model.pt2")
    ((stored,), _) = program.example_inputs
    assert stored.count_nonzero() == 0
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(program.module()(x), subject_of(candidate.model, x).model(x), atol=1e-5)


def test_the_onnx_graph_names_its_ends_and_its_batch(export):
    graph = onnx.load(export.folder / "model.onnx").graph
    (entry,), (result,) = graph.input, graph.output
    assert (entry.name, result.name) == ("input", "output")
    assert [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert result.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_given_models_are_left_alone(export, candidate):
    assert candidate.model.training and candidate.base.training
    assert candidate.base.state_dict()["head.weight"].shape == (3, 8)


def test_load_exported_rebuilds_the_model_from_any_weights(export, candidate):
    other = shifted_net(seed=9)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    model = load_exported(export.folder, other, candidate.example[:1])
    assert not model.training
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(x), subject_of(candidate.model, x).model(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_load_exported_without_a_plan(tmp_path):
    with pytest.raises(UserError, match=r"plan .*plan\.json does not exist"):
        load_exported(tmp_path, nn.Linear(2, 2), torch.zeros(1, 2))


def test_a_truncated_file_fails_the_check(export, candidate, tmp_path):
    content = (export.folder / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    subject = subject_of(candidate.model, candidate.example)
    with pytest.raises(ExportError, match=r"^model\.onnx does not load in a fresh process: \S+: [^\n]+$"):
        FORMATS["onnx"].check(subject, candidate, tmp_path)


def test_a_changed_onnx_weight_fails_the_check(export, candidate, tmp_path):
    model = onnx.load(export.folder / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [3])
    changed = onnx.numpy_helper.to_array(bias) + 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    subject = subject_of(candidate.model, candidate.example)
    with pytest.raises(ExportError, match=r"^model\.onnx differs from the pruned model by 0\.01, "):
        FORMATS["onnx"].check(subject, candidate, tmp_path)


def test_changed_weights_fail_the_check(export, candidate, tmp_path):
    shutil.copy(export.folder / "plan.json", tmp_path)
    subject = subject_of(candidate.model, candidate.example)
    other = subject_of(candidate.model, candidate.example).model
    nn.init.constant_(other.head.bias, 5.0)
    save_weights(other, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=r"^model\.safetensors differs from the pruned model by "):
        FORMATS["state"].check(subject, replace(candidate, spec=None), tmp_path)


def test_a_name_that_builds_another_model_fails_the_check(export, candidate):
    subject = subject_of(candidate.model, candidate.example)
    wrong = replace(candidate, spec=candidate.spec.replace(":small_net", ":FixedBatch"))
    with pytest.raises(ExportError, match=r"^model\.safetensors does not load .*ModelError: FixedBatch"):
        FORMATS["state"].check(subject, wrong, export.folder)


class Coded(nn.Module):
    """Its layer has the name of a property of torch's graph modules."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.code(x).relu())


def test_a_layer_may_have_a_name_that_torch_takes(card, tmp_path):
    torch.manual_seed(0)
    base, example = Coded(), torch.randn(4, 6)
    model, plan = cut_every_group(base, example)
    candidate = ExportCandidate(model, plan, base, None, None, example)
    exported = export_candidate(candidate, card, "", tmp_path, ["state", "pt2", "onnx"])
    assert [written.note for written in exported[1:]] == ["any batch size"] * 2
    assert max(written.max_difference for written in exported) < 1e-5


def test_a_model_of_one_batch_size_is_exported_with_that_size(card, tmp_path):
    torch.manual_seed(0)
    base, example = FixedBatch(), torch.randn(4, 6)
    model, plan = cut_every_group(base, example)
    fixed = ExportCandidate(model, plan, base, None, None, example)
    state, pt2 = export_candidate(fixed, card, "", tmp_path, ["state", "pt2"])
    assert "in this process: the base model has no name" in state.note
    assert pt2.note.startswith("batch size fixed at 4: ") and "\n" not in pt2.note
    readme = (tmp_path / "README.md").read_text()
    assert "torch.zeros(4, 6)" in readme and "base = ...  # the original model" in readme
    assert torch.export.load(tmp_path / "model.pt2").module()(example).shape == (4, 3)


def test_an_original_model_can_be_exported(candidate, card, tmp_path):
    original = replace(candidate, model=candidate.base, plan=Plan({}), spec=None)
    (state,) = export_candidate(original, card, "", tmp_path, ["state"])
    assert state.max_difference == 0


def test_unknown_format_names_the_closest_and_all(candidate, card, tmp_path):
    with pytest.raises(
        UserError, match="unknown format 'onx', did you mean onnx\\? there are state, python, pt2, onnx"
    ):
        export_candidate(candidate, card, "", tmp_path / "out", ["onx"])
    with pytest.raises(UserError, match="unknown format 'zip': there are"):
        export_candidate(candidate, card, "", tmp_path / "out", ["state", "zip"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("formats", [[], "onnx"])
def test_formats_must_be_a_list_with_names(candidate, card, tmp_path, formats):
    with pytest.raises(UserError, match="give a list of one or more formats"):
        export_candidate(candidate, card, "", tmp_path, formats)


def test_onnx_needs_its_extra(candidate, card, tmp_path, monkeypatch):
    assert default_formats() == ("state", "pt2", "onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert importlib.util.find_spec("onnxruntime") is None
    assert default_formats() == ("state", "pt2")
    with pytest.raises(
        MissingExtraError, match=r"onnxruntime is not installed: pip install 'autoprune\[onnx\]'"
    ):
        export_candidate(candidate, card, "", tmp_path / "out", ["onnx"])


def test_a_model_that_returns_no_tensors_is_refused(candidate, card, tmp_path):
    class Text(nn.Module):
        def forward(self, x):
            return "cat"

    with pytest.raises(ExportError, match="the model returns str: return tensors"):
        export_candidate(replace(candidate, model=Text()), card, "", tmp_path, ["state"])


def test_the_example_must_be_a_batch(candidate, card, tmp_path):
    with pytest.raises(UserError, match="give a batch of at least one sample"):
        export_candidate(replace(candidate, example=torch.zeros(0, 1, 8, 8)), card, "", tmp_path, ["state"])
