"""Malformed inputs: made from valid ones, and a corpus of those that are bad on purpose."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import nn

from autoprune.config.settings import Config

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["l2", "../x", "a.py:f", "2:4", "heads", "0", 1, 2**31, 1e308]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)
"""Values of any kind, small ones."""


def network() -> nn.Module:
    """What plans and weights are for."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


@st.composite
def edited(draw: DrawFn, seed: bytes) -> bytes:
    """The seed with one to four edits: parts cut out, put in, overwritten or repeated."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        place, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 2, 4, 8, 64]))
        new = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, b'"', b"{", b"[", b"=", b"1e999", b"\0"])
        )
        content[place : place + length] = new * draw(st.sampled_from([1, 1, 1, 50]))
    return bytes(content)


@st.composite
def changed(draw: DrawFn, seed: Any) -> bytes:
    """The JSON document with one to three of its values replaced, taken out or joined by another."""
    document = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if what == "delete":
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(JSON)
        else:
            holder[key] = draw(JSON)
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document that holds a value."""
    keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def documents(*seeds: Any) -> SearchStrategy[bytes]:
    """Documents changed by value or by byte, and any JSON at all."""
    by_value = [changed(seed) for seed in seeds]
    by_byte = [edited(json.dumps(seed).encode()) for seed in seeds]
    return st.one_of(*by_value, *by_value, *by_byte, JSON.map(lambda value: json.dumps(value).encode()))


def nasty_json(key: str) -> Iterator[bytes]:
    """JSON that is long, deep, repeated or out of range; `key` is one that the reader knows."""
    yield from (
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{" * 10**6,
        b"[" * 10**7,
    )
    yield f'{{"{key}": {"[" * 400}{"]" * 400}}}'.encode()
    yield f'{{"{key}": {"9" * 5000}}}'.encode()
    yield f'{{"{key}": 1e999, "{key}": NaN}}'.encode()
    yield f'{{"{key}": 1, "{key}": 1}}'.encode()
    yield f'{{"{key}": "\\ud800"}}'.encode()
    yield json.dumps({"schema": 1, key: {str(i): [] for i in range(200_000)}}).encode()
    yield json.dumps({"schema": 1, key: {"a": [1] * 3_000_000}}).encode()
    yield b'{"schema": 1, "x": [' + b"{}," * 2_000_000 + b"{}]}"
    yield b'{"schema": 1, "x": [' + b"[]," * 4_000_000 + b"[]]}"
    yield b'{"' + b"k" * 7_000_000 + b'": 1}'
    yield b'{"schema": 1, "x": "' + b"\\u00e9" * 1_000_000 + b'"}'
    yield b" " * 9_000_000


TOML_VALUES = st.sampled_from(
    [
        *(
            '"50%"',
            '["flops=50%", "30m"]',
            "[]",
            "[[[[]]]]",
            "true",
            "nan",
            "-inf",
            "1e400",
            "0",
            "-1",
            "1.5",
        ),
        *("99999999999999999999", '"auto"', '"a.py:f"', '"../x"', '"\\u0000"', "1979-05-27", "{a = {b = 1}}"),
        *('"2:4"', '"block:0x0"', '"x=1..2"', '"' + "y" * 5000 + '"', '["' + "z" * 300 + '"]', "'''\n'''"),
    ]
) | JSON.map(json.dumps)


@st.composite
def studies(draw: DrawFn) -> bytes:
    """Study files with keys that there are and keys that there are not."""
    names = st.sampled_from([*Config.model_fields, "modle", "search.seed", '""', "[table]", "a.b.c"])
    lines = []
    for _ in range(draw(st.integers(0, 5))):
        name = draw(names)
        lines.append(name if name.startswith("[") else f"{name} = {draw(TOML_VALUES)}")
    return "\n".join(lines).encode(errors="replace")


def nasty_toml() -> Iterator[bytes]:
    """TOML that is long, deep or repeated."""
    yield from (b"\xff", b"=", b"seed", b"seed = " + b"9" * 5000, b"skip = " + b"[" * 30_000)
    yield b"seed = " + b"{a = " * 10_000
    yield b".".join([b"a"] * 30_000) + b" = 1"
    yield b"\n".join(b"a%d = 1" % number for number in range(8000))
    yield b"\n".join(b"[a%d]" % number for number in range(8000))
    yield b"skip = [" + b'"x",' * 15_000 + b"]"
    yield b'weights = "' + b"w" * 300 + b'"'
    yield b'model = "' + b"m" * 300 + b'.py:x"'
    yield b'data = "imagefolder:\\u0000"'
    yield b"# " + b"x" * (1 << 20)
    yield b'bounds = ["a=' + b"9" * 4000 + b'..2"]'
    yield b"budget = '" + b"1" * 60_000 + b"%'"


WORDS = st.sampled_from(
    [
        *(
            "flops",
            "params",
            "size",
            "latency",
            "time",
            "trials",
            "nonzero",
            "=",
            "%",
            ",",
            "..",
            ":",
            "/",
            "^",
        ),
        *(
            "50",
            "0.5",
            "1e9",
            "1e400",
            "-1",
            "0",
            "inf",
            "nan",
            "M",
            "MB",
            "KiB",
            "ms",
            "h",
            "30m",
            "2:4",
            "µs",
        ),
        *(
            "l2",
            "group-norm",
            "p",
            "taylor",
            "a.py",
            "score",
            "block:4x4",
            "epochs",
            "steps",
            "sqlite:///",
            "@",
        ),
        *(
            "postgresql://",
            "journal:",
            "grpc://",
            "user:pass@host",
            "?",
            "#",
            "%40",
            " ",
            "\n",
            "\0",
            "٣",
            "²",
        ),
    ]
)


def texts() -> SearchStrategy[bytes]:
    """Short texts made of what texts are made of, and any text."""
    made = st.lists(WORDS, max_size=7).map("".join)
    return (made | made | st.text(max_size=30)).map(lambda text: text.encode(errors="replace"))


def nasty_texts() -> Iterator[bytes]:
    """Texts that are long, or that a careless expression reads for ever."""
    for piece in (
        "9",
        "9%",
        "flops=50%,",
        "1h",
        "a",
        "(",
        "*",
        "[",
        "=",
        ".",
        "1e",
        "µ",
        ":",
        "/",
        "@",
        "-",
        " ",
    ):
        yield (piece * 50_000).encode()
        yield (piece * 3000 + "!").encode()
    yield b"l2" + b"/flops" * 20_000
    yield b"l2/flops^" + b"9" * 5000
    yield b"group-norm:" + b"p=1," * 20_000


def safetensors_of(header: bytes, data: bytes = bytes(600), length: int | None = None) -> bytes:
    """A file with this header, and what it says of the header's length."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _weights() -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network().state_dict().items()}


def weight_files() -> SearchStrategy[bytes]:
    """Safetensors files with a changed header or changed bytes."""
    whole = safetensors.torch.save(_weights())
    size = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    headers = changed(header).map(lambda text: safetensors_of(text, data))
    lengths = st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n) + whole[8:])
    return st.one_of(headers, headers, edited(whole), lengths, st.binary(max_size=100))


def nasty_weights() -> Iterator[bytes]:
    """Headers that are long, deep, or promise more than there is."""
    yield from (
        b"",
        b"\0" * 8,
        b"\xff" * 8,
        safetensors_of(b"{}"),
        safetensors_of(b"[]"),
        safetensors_of(b"{}", b""),
    )
    yield safetensors_of(b"{" + b" " * 20_000_000 + b"}")
    yield safetensors_of(b'{"a":' * 10_000)
    yield safetensors_of(b"{}", length=2**63)
    entries = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    yield safetensors_of(json.dumps(entries).encode(), b"")
    for shape in ([2**62, 4], [-1], [1] * 10_000, [], [0, 2**63]):
        entry = {"0.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}
        yield safetensors_of(json.dumps(entry).encode(), bytes(4))
    tensors = _weights()
    yield safetensors.torch.save({**tensors, "0.bias": torch.full((4,), torch.nan)})
    yield safetensors.torch.save({**tensors, "0.bias": torch.zeros(4, dtype=torch.complex64)})
    yield safetensors.torch.save({**tensors, "0.bias": torch.zeros(4, dtype=torch.bool)})


def saved(value: object, *, legacy: bool = False) -> bytes:
    """What ``torch.save`` makes of a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def archive(pickled: bytes, parts: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """An archive as ``torch.save`` writes it, around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for name, content in parts.items():
            file.writestr(f"archive/data/{name}", content)
    return buffer.getvalue()


def _parts(whole: bytes) -> tuple[bytes, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        names = {entry.filename: file.read(entry) for entry in file.infolist()}
    pickled = next(content for name, content in names.items() if name.endswith("data.pkl"))
    return pickled, {n.rpartition("/")[2]: content for n, content in names.items() if "/data/" in n}


def torch_files() -> SearchStrategy[bytes]:
    """Files of ``torch.save``, old and new, with changed bytes or a changed pickle."""
    new, old = saved(_weights()), saved(_weights(), legacy=True)
    pickled, parts = _parts(new)
    inside = edited(pickled).map(lambda changed_pickle: archive(changed_pickle, parts))
    return st.one_of(inside, inside, edited(new), edited(old), st.binary(max_size=60))


class _Global:
    """Pickles as a call of something by name."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def nasty_torch() -> Iterator[bytes]:
    """Pickles that call, allocate or nest, and archives that unpack to more than they are."""
    import os

    tensors, parts = _weights(), _parts(saved(_weights()))[1]
    yield saved([tensors])
    yield saved({"state_dict": {"0.weight": 3}})
    yield saved({1: torch.zeros(1)})
    yield saved({**tensors, "0.weight": torch.zeros(1).expand(10**6, 10**6)})
    yield saved({**tensors, "0.weight": torch.eye(4).to_sparse()})
    yield saved({**tensors, "0.weight": torch.zeros(4, 1, 3, 3, device="meta")})
    yield saved(
        {**tensors, "0.weight": torch.quantize_per_tensor(torch.zeros(4, 1, 3, 3), 1.0, 0, torch.qint8)}
    )
    for protocol in (0, 2, 4):
        for call in (_Global(os.system, "touch ran"), _Global(bytearray, 10**10), _Global(print, "x")):
            yield archive(pickle.dumps({"a": call}, protocol), parts)
            yield pickle.dumps(call, protocol)
    yield archive(b"\x80\x02" + b"(" * 100_000 + b".", parts)
    yield archive(b"\x80\x02" + b"]" + b"2" * 1_000_000 + b".", parts)
    yield archive(b"\x80\x02}q\x00h\x00h\x00s.", parts)
    yield archive(pickle.dumps(dict.fromkeys(range(300_000)), 2), {})
    yield archive(_parts(saved(tensors))[0], {**parts, "x": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    yield archive(b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", parts)
