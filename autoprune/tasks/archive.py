"""Files of ``torch.save`` from outside: what they may hold before PyTorch reads them.

``torch.load(weights_only=True)`` runs no code of a file. What is checked here keeps a small file from taking
a lot of memory: compressed or overlapping entries, and arrays of bytes that are made from a length alone.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import IO

_PICKLES = 4
"""A file of torch before 1.6 begins with so many pickles: marks, versions, the content; numbers follow."""
_REFUSED = ("builtins bytearray", "__builtin__ bytearray")


def check_archive(path: Path) -> None:
    """Look at a file that ``torch.save`` may have written, without unpickling anything.

    Raises:
        ValueError: when it unpacks to more than it holds, or is neither form of such a file.
        pickle.UnpicklingError: when it asks for arrays of bytes.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(_PICKLES):
                _check_pickle(file)
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed entries")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("entries that overlap")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as opened:
                    _check_pickle(opened)


def _check_pickle(file: IO[bytes]) -> None:
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL" and argument in _REFUSED:
            raise pickle.UnpicklingError(f"{argument} is nothing that weights need")
