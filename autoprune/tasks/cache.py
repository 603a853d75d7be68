"""The cache of reproducible files: downloads and trained baselines."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

VARIABLE = "AUTOPRUNE_CACHE"
"""The environment variable that names the cache folder."""


def cache_folder() -> Path:
    """The user's cache folder of this package, or the one named by ``AUTOPRUNE_CACHE``.

    If it is read-only, a temporary folder that is deleted when the process ends.
    """
    return _stand_in() if cache_trouble() else _named()


def cache_trouble() -> str:
    """Why nothing is cached, in one line; empty if the cache is writable."""
    reason = _why_not(_named())
    return (
        reason
        and f"nothing is cached, for {_named()} cannot be written ({reason}): set {VARIABLE} to a folder"
    )


def _named() -> Path:
    named = os.environ.get(VARIABLE)
    if not named:
        return Path(platformdirs.user_cache_dir("autoprune"))
    try:
        return Path(named).expanduser()
    except RuntimeError:  # nobody's home is known
        return Path(named)


@cache
def _why_not(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


@cache
def _stand_in() -> Path:
    _KEPT.append(tempfile.TemporaryDirectory(prefix="autoprune-cache-", ignore_cleanup_errors=True))
    return Path(_KEPT[-1].name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
"""Deleted with the process."""
