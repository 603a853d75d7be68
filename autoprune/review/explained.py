"""What a study learned, as a table in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from autoprune.review.text import share_text
from autoprune.study.explanation import Explanation, Learned
from autoprune.utils.console import cell

LEFT_ALIGNED = ("group", "ordered by")


def explanation_lines(told: Explanation) -> tuple[list[str], list[list[str]]]:
    """Columns that hold something, and a line a group, the most sensitive first."""
    cells = [_cells(item) for item in told.by_sensitivity]
    columns = [name for name in cells[0] if any(line[name] for line in cells)] if cells else []
    return columns, [[line[name] for name in columns] for line in cells]


def explanation_table(told: Explanation) -> RenderableType:
    """The trial's groups below a headline, and what to think of the numbers."""
    columns, lines = explanation_lines(told)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        left = name in LEFT_ALIGNED
        table.add_column(cell(name), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for line in lines:
        table.add_row(*map(cell, line))
    return Group(cell(headline(told), "bold"), table, *map(cell, notes(told)))


def headline(told: Explanation) -> str:
    """Which trial is explained."""
    return f"{told.study}: what trial {told.trial} ({told.origin}) says of {len(told.groups)} groups"


def notes(told: Explanation) -> Sequence[str]:
    """How the columns are to be read."""
    scaled = any(item.scale is not None for item in told.groups)
    lines = [
        "loss at half: measured increase of the loss when half of the group's units go, the others being as "
        "in a uniform cut to 60 % of the budget"
        + ("; × what the criterion multiplies it by." if scaled else ".")  # noqa: RUF001
    ]
    if told.importances is not None:
        lines.append(f"importance: {told.importances.caveat}")
    return lines


def _cells(item: Learned) -> dict[str, str]:
    factor = "" if item.scale is None else f"{item.scale:.2f}"
    shift = "" if not item.shift else f"{item.shift:.2f}"
    criteria = ", ".join(
        name if share >= 1 else f"{name} {share_text(share)}" for name, share in item.criteria.items()
    )
    return {
        "group": item.group,
        "units": str(item.width),
        "kept": str(item.kept),
        "loss at half": "" if item.at_half is None else f"{item.at_half:.3f}",
        "×": factor,  # noqa: RUF001
        "+": shift,
        "ordered by": criteria,
        "importance": "" if item.importance is None else share_text(item.importance),
    }
