"""How weights are named: a file, and perhaps which of the state dicts in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SAFETENSORS = ".safetensors"
OF_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".th")
SUFFIXES = (SAFETENSORS, *OF_TORCH)
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

    def __str__(self) -> str:
        return str(self.path) if self.entry is None else f"{self.path}:{self.entry}"


def read_weights_name(text: str) -> WeightsFile:
    """What a text names: a file, or where its end is that of a weights file and a colon follows, an entry."""
    file, colon, entry = text.rpartition(":")
    if colon and entry and Path(file).suffix in SUFFIXES and Path(text).suffix not in SUFFIXES:
        return WeightsFile(Path(file), entry)
    return WeightsFile(Path(text))
