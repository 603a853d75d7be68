"""Paths in a study file, which start in the folder of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoprune.config.references import (
    PARSERS,
    CriterionName,
    FileCode,
    LearnedFile,
    Named,
    Quality,
    Reference,
)
from autoprune.config.weights_file import split_entry
from autoprune.utils.path_options import split_options


def from_folder(key: str, value: Any, folder: Path) -> Any:
    """The setting with its path, if it holds one that exists under ``folder``, made to start there."""
    if not isinstance(value, str):
        return value
    if key == "weights":
        file, entry = split_entry(value)
        return _existing(file, folder) + entry
    if key not in PARSERS:
        return value
    reference = PARSERS[key](value)
    if key == "data" and isinstance(reference, Named) and reference.argument:
        path, options = split_options(reference.argument)
        return f"{reference.name}:{_existing(path, folder)}" + (options and f",{options}")
    file = _file_of(reference) or ""
    # Whatever follows the file, such as a price, stays as it is.
    return value if not file else _existing(file, folder) + value.removeprefix(file)


def _file_of(reference: Reference | None) -> str | None:
    """The file at the beginning of a reference's text, if there is one."""
    if isinstance(reference, CriterionName):
        return _file_of(reference.base)
    if isinstance(reference, Quality):
        return _file_of(reference.metric)
    return reference.file if isinstance(reference, FileCode | LearnedFile) else None


def _existing(text: str, folder: Path) -> str:
    beside = folder / text
    try:
        return str(beside) if beside.exists() else text
    except OSError:  # a name that no file system takes
        return text
