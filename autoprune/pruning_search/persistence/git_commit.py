"""The commit that is checked out where a search is started, for its record."""

from __future__ import annotations

import re
from pathlib import Path

from autoprune.utils.plain_files import read_plain

_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MOST_LINKS = 5
_MOST_BYTES = 8 << 20


def commit_of(folder: Path) -> str:
    """Hash of the commit that is checked out in a folder or one above it; empty where there is none.

    Git's own files are read rather than its programs run: a repository's settings may name programs.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        try:
            if (place / ".git").exists():
                return _head(_repository(place / ".git"))
        except (OSError, ValueError):
            return ""
    return ""


def _repository(marker: Path) -> Path:
    """The folder of the repository: in a further working tree a file says where it is."""
    if marker.is_dir():
        return marker
    return marker.parent / _text(marker).removeprefix("gitdir:").strip()


def _head(repository: Path) -> str:
    # What belongs to all working trees together lies elsewhere in a further one.
    common = repository / "commondir"
    shared = repository / _text(common) if common.is_file() else repository
    text = _text(repository / "HEAD")
    for _ in range(_MOST_LINKS):
        if not text.startswith("ref:"):
            break
        text = _reference(shared, text.removeprefix("ref:").strip())
    return text if _HASH.fullmatch(text) else ""


def _reference(repository: Path, name: str) -> str:
    """What a reference holds: a file of its own, or a line among the packed ones."""
    file = repository / name
    if repository.resolve() in file.resolve().parents and file.is_file():
        return _text(file)
    packed = repository / "packed-refs"
    lines = _text(packed).splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")


def _text(file: Path) -> str:
    return read_plain(file, _MOST_BYTES).decode().strip()
