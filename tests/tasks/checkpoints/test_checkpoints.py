"""Checkpoints in the forms in which people publish them."""

import argparse
import types
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from autoprune.config.weights_file import WeightsFile, read_weights_name
from autoprune.errors import ModelError
from autoprune.tasks import load_weights, weights_hash


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def named(model: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def loaded(source: WeightsFile | Path) -> tuple[str, list[str]]:
    notes: list[str] = []
    model = net()
    load_weights(model, source, notes.append)
    return weights_hash(model), notes


def refused(source: WeightsFile | Path, model: nn.Module | None = None) -> str:
    model = model or net()
    before = weights_hash(model)
    with pytest.raises(ModelError) as told:
        load_weights(model, source)
    assert weights_hash(model) == before
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.module."]
)
@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
def test_prefixes_of_wrappers(tmp_path, prefix, suffix):
    path, model = tmp_path / f"w{suffix}", net()
    state = named(model, prefix)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert loaded(path) == (weights_hash(model), [f"{path}: removed {prefix} before every name"])


def test_a_prefix_that_is_the_models_own_stays(tmp_path):
    path, inner = tmp_path / "w.pt", net()
    own = nn.ModuleDict({"model": inner})
    torch.save(named(own, "module."), path)
    model, notes = nn.ModuleDict({"model": net()}), []
    load_weights(model, path, notes.append)
    assert weights_hash(model) == weights_hash(own)
    assert notes == [f"{path}: removed module. before every name"]


def test_a_layer_that_was_compiled_alone(tmp_path):
    path, model = tmp_path / "w.bin", net()
    torch.save(nn.Sequential(torch.compile(model[0]), *model[1:]).state_dict(), path)
    assert loaded(path)[0] == weights_hash(model)


@pytest.mark.parametrize("entry", ["state_dict", "model", "model_state_dict", "net", "params", "module"])
@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".tar", ".th", ".pt", ".pth"])
def test_entries_of_checkpoints(tmp_path, entry, suffix):
    path, model = tmp_path / f"w{suffix}", net()
    torch.save({"epoch": 3, entry: model.state_dict(), "optimizer": {"state": {}}}, path)
    assert loaded(path) == (weights_hash(model), [f"{path}: took the entry {entry}"])


def test_averaged_weights_are_taken_when_they_are_asked_for(tmp_path):
    path, model, average = tmp_path / "w.tar", net(), net()
    torch.save({"state_dict": model.state_dict(), "state_dict_ema": named(average, "module.")}, path)
    found, notes = loaded(path)
    assert found == weights_hash(model)
    assert notes == [f"{path}: took the entry state_dict (for state_dict_ema give {path}:state_dict_ema)"]
    for entry in ("ema", "state_dict_ema"):
        found, notes = loaded(read_weights_name(f"{path}:{entry}"))
        assert found == weights_hash(average)
        assert notes == [f"{path}: took the entry state_dict_ema and removed module. before every name"]
    assert "weights are under state_dict, state_dict_ema" in refused(WeightsFile(path, "teacher"))


@pytest.mark.parametrize("names", [["ema"], ["student", "teacher"]])
def test_entries_that_have_to_be_named(tmp_path, names):
    path, models = tmp_path / "w.pt", [net() for _ in names]
    torch.save({name: model.state_dict() for name, model in zip(names, models, strict=True)}, path)
    assert " or ".join(f"{path}:{name}" for name in names) in refused(path)
    for name, model in zip(names, models, strict=True):
        assert loaded(WeightsFile(path, name)) == (weights_hash(model), [f"{path}: took the entry {name}"])


def test_entries_in_entries(tmp_path):
    path, model = tmp_path / "w.pt", net()
    torch.save({"model": {"state_dict": model.state_dict()}}, path)
    assert loaded(path) == (weights_hash(model), [f"{path}: took the entry model.state_dict"])


def test_weights_from_before_batches_were_counted(tmp_path):
    path, model = tmp_path / "w.pth", net()
    old = OrderedDict((name, t) for name, t in model.state_dict().items() if "num_batches" not in name)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in old.items()}}, path)
    assert loaded(path)[0] == weights_hash(model)
    model.load_state_dict(old)


def test_what_torch_renames_itself_is_accepted(tmp_path):
    """Old weight norm kept weight_g and weight_v, which the hooks of today's rename."""
    path, model = tmp_path / "w.pt", parametrizations.weight_norm(nn.Linear(3, 2))
    state = model.state_dict()
    magnitude, direction = (state.pop(f"parametrizations.weight.original{i}") for i in (0, 1))
    expected = magnitude + 1
    torch.save({**state, "weight_g": expected, "weight_v": direction}, path)
    load_weights(model, path)
    assert torch.equal(model.parametrizations.weight.original0, expected)


def test_arguments_and_folders_beside_the_weights(tmp_path):
    path, model = tmp_path / "w.pth.tar", net()
    args = argparse.Namespace(lr=0.1, output=Path("runs"))
    torch.save({"state_dict": model.state_dict(), "args": args}, path)
    assert loaded(path)[0] == weights_hash(model)


@pytest.mark.parametrize("value", [types.SimpleNamespace(a=1), net()], ids=["class", "module"])
def test_what_is_not_loaded_is_named_with_the_way_out(tmp_path, value):
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": net().state_dict(), "extra": value}, path)
    message = refused(path)
    assert f"holds more than weights ({type(value).__module__}.{type(value).__name__})" in message
    assert "torch.load('w.ckpt', 'cpu', weights_only=False)['state_dict']" in message


def test_classes_that_the_user_declared_safe(tmp_path):
    path, model = tmp_path / "w.ckpt", net()
    torch.save({"state_dict": model.state_dict(), "extra": types.SimpleNamespace(a=1)}, path)
    with torch.serialization.safe_globals([types.SimpleNamespace]):
        assert loaded(path)[0] == weights_hash(model)


def test_other_kinds_of_files_are_one_clear_line(tmp_path):
    torch.jit.script(net()).save(str(tmp_path / "script.pt"))
    assert "torch.jit.load('script.pt', 'cpu').state_dict()" in refused(tmp_path / "script.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    assert "no state dict but Tensor" in refused(tmp_path / "tensor.pt")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "index of several files" in refused(tmp_path / "model.safetensors.index.json")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "empty.pt")
    assert "'state_dict' is no tensor" in refused(tmp_path / "empty.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {f"encoder.{name}": tensor for name, tensor in state.items()},
            ("0.weight is missing and encoder.0.weight is unknown", "the file's names begin with 'encoder.'"),
        ),
        (
            lambda state: {f"a.{i}": tensor for i, tensor in enumerate(state.values())},
            ("0.weight is missing and a.0 is unknown", "the shapes agree in order"),
        ),
        (
            lambda state: {**state, "3.weight": torch.zeros(5, 16), "3.bias": torch.zeros(5)},
            ("3.weight is [5, 16] instead of [3, 16]", "the file is for 5 classes and the model has 3"),
        ),
        (
            lambda state: {name: tensor for name, tensor in state.items() if not name.startswith("0.")},
            ("0.weight is missing, and 1 more", "a part of this model"),
        ),
        (lambda state: {**state, "4.weight": torch.zeros(1)}, ("4.weight is unknown", "a larger model")),
    ],
)
def test_a_misfit_shows_both_sides_and_the_likely_cause(tmp_path, change, words):
    path = tmp_path / "w.pt"
    torch.save(change(dict(net().state_dict())), path)
    message = refused(path)
    assert all(word in message for word in words), message


def test_names_that_lack_what_the_models_begin_with(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(net().state_dict(), path)
    assert "the model's names begin with 'body.'" in refused(path, nn.ModuleDict({"body": net()}))


@pytest.mark.parametrize(
    ("text", "file", "entry"),
    [
        ("w.pt", "w.pt", None),
        ("w.pt:ema", "w.pt", "ema"),
        ("runs/w.pth.tar:state_dict_ema", "runs/w.pth.tar", "state_dict_ema"),
        ("a:b/w.ckpt", "a:b/w.ckpt", None),
        ("C:\\w.safetensors", "C:\\w.safetensors", None),
        ("w.onnx:ema", "w.onnx:ema", None),
        ("w.pt:", "w.pt:", None),
    ],
)
def test_names_of_weights(text, file, entry):
    assert read_weights_name(text) == WeightsFile(Path(file), entry)


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = net()

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])]

    samples = torch.utils.data.TensorDataset(torch.randn(4, 1, 4, 4), torch.arange(4) % 3)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(samples, batch_size=4))
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    expected = [f"{path}: took the entry state_dict and removed model. before every name"]
    assert loaded(path) == (weights_hash(module.model), expected)
    own = Module()
    load_weights(own, path)
    assert weights_hash(own) == weights_hash(module)


def test_timm(tmp_path):
    utils = pytest.importorskip("timm.utils")
    model = net()
    average = utils.ModelEmaV3(model)
    nn.init.ones_(model[3].bias)
    saver = utils.CheckpointSaver(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        args=argparse.Namespace(model="net"),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, 1.0)
    path = tmp_path / "last.pth.tar"
    assert loaded(path)[0] == weights_hash(model)
    assert loaded(WeightsFile(path, "ema"))[0] == weights_hash(average.module)
