"""Folder names with options: ``photos,size=160,mean=0.5``."""

from __future__ import annotations

import re

_PARTS = re.compile(r"(.*?)((?:,\w+=[^,/]*)*)", flags=re.DOTALL)


def split_options(text: str) -> tuple[str, str]:
    """The folder and its options, empty if there are none; other commas belong to the folder."""
    folder, options = _PARTS.fullmatch(text).groups()  # type: ignore[union-attr]  # every text matches
    return folder, options.removeprefix(",")
