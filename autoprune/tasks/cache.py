"""Where files that can be made again are kept: downloads and trained baselines."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder of this package, or the one named by ``AUTOPRUNE_CACHE``."""
    override = os.environ.get("AUTOPRUNE_CACHE")
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("autoprune"))
