import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autoprune.errors import DamagedError, DiskError, ModelError
from autoprune.tasks import load_weights, save_weights, weights_hash


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight


def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("make", [net, Tied])
def test_weights_survive_the_file(tmp_path, make):
    path = tmp_path / "deep" / "w.safetensors"
    first, second = make(), make()
    save_weights(first, path)
    assert weights_hash(first) != weights_hash(second)
    load_weights(second, path)
    assert weights_hash(first) == weights_hash(second)
    assert [entry.name for entry in path.parent.iterdir()] == ["w.safetensors"]


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(Tied(), path)
    assert len(load_file(path)) == 1
    model = Tied()
    load_weights(model, path)
    assert model.head.weight is model.embed.weight


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("nested", [True, False])
def test_state_dicts_of_torch(tmp_path, suffix, nested):
    first, second = net(), net()
    state = first.state_dict()
    path = tmp_path / f"w{suffix}"
    torch.save({"state_dict": state, "epoch": 3} if nested else state, path)
    load_weights(second, path)
    assert weights_hash(first) == weights_hash(second)


def test_channels_last_weights_are_stored_right(tmp_path):
    first, second = net().to(memory_format=torch.channels_last), net()
    save_weights(first, tmp_path / "w.safetensors")
    load_weights(second, tmp_path / "w.safetensors")
    assert torch.equal(first[0].weight, second[0].weight)
    assert weights_hash(first) == weights_hash(second)


def test_the_hash_sees_names_shapes_and_single_values():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    before = weights_hash(model)
    assert before == weights_hash(model)
    assert before != weights_hash(nn.Sequential(model))
    with torch.no_grad():
        model.bias[0] += 1
    assert before != weights_hash(model)


def test_weights_of_another_model_leave_the_model_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Linear(2, 2)), path)
    model = net()
    before = weights_hash(model)
    with pytest.raises(
        ModelError, match=r"0\.weight is \[5, 1, 3, 3\] instead of \[4, 1, 3, 3\].* and \d more"
    ):
        load_weights(model, path)
    assert weights_hash(model) == before


def test_missing_tensors_are_named(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"0.weight": torch.zeros(4, 1, 3, 3)}, path)
    with pytest.raises(ModelError, match=r"0\.bias is missing"):
        load_weights(net(), path)


class Unsafe:
    pass


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pt":
        torch.save(net().state_dict(), path)
    else:
        save_weights(net(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="damaged"):
        load_weights(net(), path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100)])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_hold_no_weights(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_weights(net(), path)


def test_whole_models_are_not_unpickled(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(Unsafe(), path)
    with pytest.raises(ModelError, match="state_dict"):
        load_weights(net(), path)


def test_a_file_with_other_things(tmp_path):
    path = tmp_path / "w.pt"
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="no state dict"):
        load_weights(net(), path)


@pytest.mark.parametrize(
    ("name", "message"), [("no.safetensors", "no weights file"), ("w.onnx", "no .safetensors")]
)
def test_files_that_cannot_be_used(tmp_path, name, message):
    (tmp_path / "w.onnx").touch()
    with pytest.raises(ModelError, match=message):
        load_weights(net(), tmp_path / name)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot write"):
        save_weights(net(), tmp_path / "file" / "w.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_are_no_numbers(tmp_path, suffix):
    path, state = tmp_path / f"w{suffix}", net().state_dict()
    state["0.bias"] = torch.full((4,), torch.nan)
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    model = net()
    before = weights_hash(model)
    with pytest.raises(ModelError, match=r"0\.bias is no plain tensor of finite numbers"):
        load_weights(model, path)
    assert weights_hash(model) == before


@pytest.mark.parametrize("make", [lambda t: t.to_sparse(), lambda t: t.to("meta")], ids=["sparse", "meta"])
def test_tensors_of_another_kind(tmp_path, make):
    path, state = tmp_path / "w.pt", net().state_dict()
    torch.save({**state, "0.weight": make(state["0.weight"])}, path)
    with pytest.raises(ModelError, match=r"0\.weight is no plain tensor"):
        load_weights(net(), path)


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(net().state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(DamagedError):
        load_weights(net(), path)


@pytest.mark.parametrize("legacy", [False, True])
def test_bytes_made_from_a_length_alone(tmp_path, legacy):
    path = tmp_path / "w.pt"
    torch.save({"a": bytearray(3)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="holds more than weights"):
        load_weights(net(), path)


def test_files_of_early_torch(tmp_path):
    path, first, second = tmp_path / "w.pth", net(), net()
    torch.save(first.state_dict(), path, _use_new_zipfile_serialization=False)
    load_weights(second, path)
    assert weights_hash(first) == weights_hash(second)


def test_a_header_that_is_too_long(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes((17 << 20).to_bytes(8, "little") + b" " * (17 << 20))
    with pytest.raises(DamagedError):
        load_weights(net(), path)


def test_a_name_that_no_file_system_takes():
    with pytest.raises(ModelError, match="no weights file"):
        load_weights(net(), Path("w" * 300 + ".pt"))
