"""How weights are named: a file, and perhaps which of the state dicts in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pt", ".pth", ".ckpt", ".bin", ".tar", ".th")
"""Ends of the names of weights files; those behind the first are all written by ``torch.save``."""


@dataclass(frozen=True)
class WeightsFile:
    """Weights as settings name them: ``"w.pt"``, or ``"w.pt:ema"``.

    Attributes:
        path: the file.
        entry: which of several state dicts in it is meant; None where the text names none.
    """

    path: Path
    entry: str | None = None


def read_weights_name(text: str) -> WeightsFile:
    """The file and the entry that a text names."""
    file, entry = split_entry(text)
    return WeightsFile(Path(file), entry.removeprefix(":") or None)


def split_entry(text: str) -> tuple[str, str]:
    """The file, and the entry with its colon, which is empty unless a known end stands before it."""
    file, colon, entry = text.rpartition(":")
    if entry and file.endswith(SUFFIXES) and not text.endswith(SUFFIXES):
        return file, colon + entry
    return text, ""
