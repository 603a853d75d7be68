"""Checks of untrusted ``torch.save`` files before PyTorch reads them.

``torch.load(weights_only=True)`` runs no code of a file. The checks here bound the memory of a file by its
size: they reject entries that unpack to more, tensors that reach beyond their storage, storages that are
longer than the file, and calls that copy the same object repeatedly.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path, PosixPath
from typing import IO, Any

import torch

from autoprune.tasks.checkpoints.pickles import Limits, follow_pickle

_PLAIN: list[Any] = [
    argparse.Namespace,
    # Python 3.13 wrote it under a different name.
    *((PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
]
"""Classes of plain values in which checkpoints keep arguments and paths."""
TORCHSCRIPT = "a TorchScript program"
_ZIP = b"PK\x03\x04"
_PICKLES = 5
"""Number of pickles in a file of torch before 1.6 (marks, versions, content, keys); the data follows."""
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sIQI"), struct.Struct("<4sQ2H2I4Q")


def load_archive(path: Path) -> Any:
    """Load a ``torch.save`` file with ``weights_only=True`` after :func:`check_archive`.

    Raises what that raises; a damaged file may raise any exception.
    """
    # One open file, so that the checked content is what is read.
    with path.open("rb") as file, torch.serialization.safe_globals(_PLAIN):
        check_archive(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def check_archive(file: IO[bytes], size: int) -> None:
    """Check a file that ``torch.save`` may have written, without unpickling anything.

    Args:
        file: open at its beginning; it is parsed as PyTorch parses it.
        size: bytes of the file.

    Raises:
        ValueError: if it needs more memory than its size allows, or is neither form of such a file.
        pickle.UnpicklingError: if it contains anything other than tensors and plain Python objects; the
            message names it.
    """
    limits = Limits(size, _safe_names())
    begins = file.read(len(_ZIP))
    file.seek(0)
    if begins != _ZIP:
        for _ in range(_PICKLES):
            follow_pickle(file, limits)
        return
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        for entry in _checked_entries(archive, size):
            # Read whole, which checks its checksum, as PyTorch reads it.
            follow_pickle(io.BytesIO(archive.read(entry)), limits)


def _checked_entries(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The pickles of an archive. Raises ValueError if its entries unpack to more than the file's size."""
    entries = archive.infolist()
    # PyTorch looks names up without regard to case.
    names = [entry.filename.casefold() for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        raise pickle.UnpicklingError(TORCHSCRIPT)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("compressed entries")
    if any(entry.compress_size != entry.file_size for entry in entries):
        raise ValueError("entries of two sizes")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("entries that overlap")
    if len(set(names)) < len(names):
        raise ValueError("two entries of one name")
    return [entry for entry, name in zip(entries, names, strict=True) if name.endswith(".pkl")]


def _check_end(file: IO[bytes], size: int) -> None:
    """Raise ValueError unless the archive ends as PyTorch writes it, so that every reader agrees on it.

    Readers differ on comments after the end record, on bytes before the first entry, and on where they look
    for the zip64 end record.
    """
    ends = size - _END.size
    mark, *_, listing, start, comment = _END.unpack(_read_at(file, ends, _END.size))
    if mark != b"PK\x05\x06" or comment:
        raise ValueError("no end of an archive")
    place = ends - _LOCATOR.size
    mark, _, at, _ = _LOCATOR.unpack(_read_at(file, place, _LOCATOR.size))
    if mark == b"PK\x06\x07":
        ends = place - _END64.size
        mark, *_, listing, start = _END64.unpack(_read_at(file, ends, _END64.size))
        if mark != b"PK\x06\x06" or at != ends:
            raise ValueError("no long end of an archive where one is named")
    if start + listing != ends:
        raise ValueError("a listing that does not lie before the end of the archive")
    file.seek(0)


def _read_at(file: IO[bytes], offset: int, count: int) -> bytes:
    if offset < 0:
        raise ValueError("shorter than an archive")
    file.seek(offset)
    return file.read(count)


def _safe_names() -> frozenset[str]:
    known = torch.serialization.get_safe_globals()
    return frozenset(k[1] if isinstance(k, tuple) else f"{k.__module__}.{k.__qualname__}" for k in known)
