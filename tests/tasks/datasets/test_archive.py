"""Small files that would take a lot of memory, and files that two readers would read differently."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.errors import DamagedError, ModelError
from autoprune.tasks import load_weights

MANY = 10**9
MARKS = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(count: int, kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text("0") + text("cpu") + number(count)


def tensor(count: int, size: bytes, strides: bytes, kind: str = "FloatStorage") -> bytes:
    view = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(count, kind) + b"tQK\x00"
    return view + size + strides + b"\x89" + name("collections", "OrderedDict") + b")RtR"


def entry(value: bytes) -> bytes:
    return b"}" + text("weight") + value + b"s"


def early(content: bytes, keys: bytes | None = None) -> bytes:
    """A file of torch before 1.6."""
    marks = b"".join(pickle.dumps(mark, protocol=2) for mark in MARKS)
    return marks + b"\x80\x02" + content + b"." + (keys or pickle.dumps([], protocol=2))


def archive(content: bytes, data: bytes = b"", named: str = "data.pkl") -> bytes:
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w") as file:
        file.writestr(f"a/{named}", b"\x80\x02" + content + b".")
        file.writestr("a/version", "3\n")
        file.writestr("a/data/0", data)
    return opened.getvalue()


def deflated(named: str) -> bytes:
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\x80\x02}.", zipfile.ZIP_STORED)
        file.writestr(named, bytes(64 << 20))
    return opened.getvalue()


ONE = struct.pack("<f", 1.0)
BYTES = entry(name("builtins", "bytearray") + number(MANY) + b"\x85R")
LONGER = b"".join(name("_codecs", "encode") for _ in range(28)) + text("ab") + text("latin1") + b"\x86R"
LIST = b"](" + b"".join(number(i) for i in range(20000)) + b"eq\x01"
FIRST = b"K\x01\x85"
TWO_TYPES = tensor(1000, FIRST, FIRST) + tensor(500, FIRST, FIRST, "DoubleStorage")
SET, FEW = name("builtins", "set"), 300_000
EXPANDED = tensor(1, number(FEW) + b"\x85", b"K\x00\x85")
HOOKS = name("collections", "OrderedDict") + b")R"
PUT_IN_PLACE = b"}}" + text("data") + EXPANDED + b"s\x86"
"""State of a tensor that puts another in its place, as an attribute of slots."""
FILES = {
    "early": early(BYTES),
    "early file before an archive": early(BYTES) + archive(b"}"),
    "keys of an early file": early(b"}", b"\x80\x02" + BYTES + b"."),
    "storage": early(entry(storage(MANY) + b"NtQ")),
    "longer and longer text": early(entry(LONGER + (text("hex_codec") + b"\x86R") * 27)),
    "sets of one list": early(b"](" + LIST + (name("builtins", "set") + b"h\x01\x85R") * 2000 + b"e"),
    "sets of a set of a set": early(
        b"](" + SET + SET + b"(" + b"".join(number(i) for i in range(20000)) + b"t\x85R\x85Rq\x01"
        b"" + (SET + b"h\x01\x85R") * 2000 + b"e"
    ),
    "elements of a parameter with state": archive(
        b"]"
        + SET
        + name("torch._utils", "_rebuild_parameter_with_state")
        + b"("
        + tensor(1, FIRST, FIRST)
        + b"\x89"
        + HOOKS
        + PUT_IN_PLACE
        + b"tR\x85Ra",
        ONE,
    ),
    "elements of a tensor with attributes": archive(
        b"]"
        + SET
        + name("torch._tensor", "_rebuild_from_type_v2")
        + b"("
        + name("torch._utils", "_rebuild_tensor_v2")
        + name("torch", "Tensor")
        + b"("
        + storage(1)
        + b"tQK\x00K\x01\x85K\x01\x85\x89"
        + HOOKS
        + b"t"
        + PUT_IN_PLACE
        + b"tR\x85Ra",
        ONE,
    ),
    "state that makes a tensor longer": early(
        b"]("
        + tensor(1, FIRST, FIRST).replace(b"tQ", b"NtQ")
        + b"("
        + storage(1)
        + b"NtQK\x00"
        + number(FEW)
        + b"\x85K\x01\x85tbq\x01"
        + SET
        + b"h\x01\x85Re"
    ),
    "objects": early(b"(" + b"}" * 160_000 + b"t"),
    "tensor from a length": archive(entry(name("torch", "FloatTensor") + number(MANY) + b"\x85R")),
    "expanded": archive(entry(tensor(1, number(MANY) + b"\x85", b"K\x00\x85")), ONE),
    "copy of an expanded one": archive(
        entry(
            name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor")
            + b"("
            + tensor(1, number(MANY) + b"\x85", b"K\x00\x85")
            + name("torch", "float64")
            + text("cpu")
            + b"\x89tR"
        ),
        ONE,
    ),
    "beyond its storage": archive(entry(tensor(1, number(MANY) + b"\x85", b"K\x01\x85")), ONE),
    "one storage read again and again": archive(b"](" + TWO_TYPES * 1000 + b"e", bytes(4000)),
    "capitals": archive(BYTES, named="DATA.PKL"),
    "deflated data": deflated("a/data/0"),
    "deflated version": deflated("a/version"),
    "another archive in front": deflated("a/version") + archive(b"}"),
}


def peak(path: Path) -> int:
    """Bytes that the process grows by, at most, while a file is refused."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmHWM")
    with pytest.raises(ModelError):
        load_weights(nn.Linear(2, 2), path)
    return resident("VmHWM") - before


def resident(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
@pytest.mark.parametrize("kind", FILES)
def test_memory_goes_with_the_size_of_the_file(tmp_path, kind):
    path = tmp_path / "w.pt"
    path.write_bytes(FILES[kind])
    assert peak(path) < (48 << 20) + 64 * len(FILES[kind])


def test_the_same_forms_load_where_they_are_honest(tmp_path):
    path, model = tmp_path / "w.pt", nn.Linear(2, 1, bias=False)
    for content in (
        archive(entry(tensor(2, b"K\x01K\x02\x86", b"K\x02K\x01\x86")), ONE + ONE),
        archive(entry(tensor(1, b"K\x01K\x02\x86", b"K\x00K\x00\x86")), ONE),
    ):
        nn.init.zeros_(model.weight)
        path.write_bytes(content)
        load_weights(model, path)
        assert model.weight.tolist() == [[1.0, 1.0]]


def test_parameters_with_attributes_load(tmp_path):
    path, model = tmp_path / "w.pt", nn.Linear(2, 1, bias=False)
    parameter = nn.Parameter(torch.ones(1, 2))
    parameter.tag = "mine"
    torch.save({"weight": parameter}, path)
    assert b"_rebuild_parameter_with_state" in path.read_bytes()
    load_weights(model, path)
    assert model.weight.tolist() == [[1.0, 1.0]]


def test_a_tensor_beyond_its_storage_has_no_values(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(archive(entry(tensor(1, b"K\x01K\x02\x86", b"K\x02K\x01\x86")), ONE))
    with pytest.raises(DamagedError):
        load_weights(nn.Linear(2, 1, bias=False), path)


@pytest.mark.parametrize("protocol", [3, 4])
def test_other_protocols_say_what_to_do(tmp_path, protocol):
    path = tmp_path / "w.pt"
    torch.save({"a": b"x"}, path, pickle_protocol=protocol)
    with pytest.raises(ModelError, match=r"another pickle protocol.*weights_only=False"):
        load_weights(nn.Linear(2, 2), path)
