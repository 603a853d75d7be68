"""Paths in a study file, which start in the folder of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoprune.folders import split_options

_FOLDER_DATA = ("imagefolder", "fashion-mnist", "mnist", "cifar10", "language-id")


def from_folder(key: str, value: Any, folder: Path) -> Any:
    """The setting with its path, if it holds one that exists under ``folder``, made to start there."""
    if not isinstance(value, str):
        return value
    if key == "weights":
        return _existing(value, folder)
    if key == "criterion" and value.endswith(".json"):
        return _existing(value, folder)
    file, colon, name = value.rpartition(":")
    if key in ("model", "data", "criterion", "metric") and file.endswith(".py"):
        return _existing(file, folder) + colon + name
    kind, colon, root = value.partition(":")
    if key == "data" and kind in _FOLDER_DATA and root:
        path, options = split_options(root)
        return kind + colon + _existing(path, folder) + (options and f",{options}")
    return value


def _existing(text: str, folder: Path) -> str:
    beside = folder / text
    try:
        return str(beside) if beside.exists() else text
    except OSError:  # a name that no file system takes
        return text
