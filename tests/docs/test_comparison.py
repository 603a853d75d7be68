"""The table on other tools names a source for every cell, or says that none was found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("| step |") : PAGE.index("## A new user's workflow")]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.strip().splitlines()]
SOURCES = dict(re.findall(r"^\[([\w-]+)\]: (https://\S+)$", PAGE, re.MULTILINE))
CELLS = [(tool, row[0], cell) for row in ROWS[2:] for tool, cell in zip(ROWS[0][2:], row[2:], strict=True)]


@pytest.mark.parametrize(("tool", "step", "cell"), CELLS)
def test_a_cell_about_another_tool_has_its_source(tool: str, step: str, cell: str) -> None:
    named = re.findall(r"\[[^\]]+\]\[([\w-]+)\]", cell)
    rest = re.sub(r"\[[^\]]+\]\[[\w-]+\]", "", cell).strip(" ,")
    assert (cell == "not found") != bool(named)
    assert rest in ("", "not found"), "words without a source"
    assert set(named) <= set(SOURCES)


def test_every_source_is_used() -> None:
    assert {name for name in SOURCES if f"][{name}]" not in TABLE} == set()
