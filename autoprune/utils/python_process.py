"""Python processes that look for modules where this one does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

PATHS_VARIABLE = "AUTOPRUNE_MODULE_PATHS"
"""Environment: where :mod:`autoprune.utils.start` has its process look for modules."""


def python_words(words: Iterable[str | Path], *flags: str) -> list[str]:
    """The command that runs ``-m MODULE ARGUMENTS`` or ``FILE ARGUMENTS``; it takes :func:`module_paths`."""
    # -P: neither the working folder nor the script's own stands in for the standard library.
    return [sys.executable, *flags, "-P", str(files(__package__) / "start.py"), *map(str, words)]


def module_paths(paths: Sequence[str], folder: Path) -> dict[str, str]:
    """The environment that says where to look; an empty path stands for the folder."""
    return {PATHS_VARIABLE: json.dumps([path or str(folder) for path in paths])}
