"""The page on the architecture names files that exist, and its picture is what the imports give."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`([a-z_]+/[a-z_/.0-9]+|[a-z_]+\.py)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    folders = [ROOT, ROOT / "autoprune", ROOT / "autoprune" / "pruning_search"]
    folders.append(ROOT / "autoprune" / "pruning_search" / "problem")
    folders.append(ROOT / "autoprune" / "cost" / "latency")
    assert any((folder / path).exists() for folder in folders)


def test_the_picture_is_drawn_from_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PICTURES))
    monkeypatch.delitem(sys.modules, "make", raising=False)
    import architecture

    assert (PICTURES / "architecture.svg").read_text(encoding="utf-8") == architecture.drawn()


def test_every_folder_has_a_row() -> None:
    folders = {path.parent.name for path in (ROOT / "autoprune").glob("*/__init__.py")}
    rows = "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    assert folders <= set(re.findall(r"`(\w+)`", rows))
