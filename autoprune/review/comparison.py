"""A model before and after a cut, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from autoprune.utils.console import cell


def comparison_table(rows: Sequence[Sequence[str]]) -> Table:
    """Rows of what is measured, before, after, and the change."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(cell, row))
    return table
