"""What a study learned about each group, as a table for the terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from autoprune.review.text import share_text
from autoprune.study.explanation import Explanation, Learned
from autoprune.utils.console import cell

LEFT_ALIGNED = ("group", "ranked by")


def explanation_lines(explanation: Explanation) -> tuple[list[str], list[list[str]]]:
    """The non-empty columns, and a line per group, the most sensitive first."""
    cells = [_cells(item) for item in explanation.by_sensitivity]
    columns = [name for name in cells[0] if any(line[name] for line in cells)] if cells else []
    return columns, [[line[name] for name in columns] for line in cells]


def explanation_table(explanation: Explanation) -> RenderableType:
    """The trial's groups below a headline, with notes on how to read the numbers."""
    columns, lines = explanation_lines(explanation)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        left = name in LEFT_ALIGNED
        table.add_column(cell(name), justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for line in lines:
        table.add_row(*map(cell, line))
    return Group(cell(headline(explanation), "bold"), table, *map(cell, notes(explanation)))


def headline(explanation: Explanation) -> str:
    """Which trial is explained."""
    trial = f"trial {explanation.trial} ({explanation.origin})"
    return f"{explanation.study}: what {trial} learned about {len(explanation.groups)} groups"


def notes(explanation: Explanation) -> Sequence[str]:
    """How to read the columns."""
    scaled = any(item.scale is not None for item in explanation.groups)
    lines = [
        "loss at half: measured increase of the loss when half of the group's units are removed, in a model "
        "that is otherwise pruned uniformly to 60 % of the budget"
        + ("; ×: its factor in the criterion." if scaled else ".")  # noqa: RUF001
    ]
    if explanation.importances is not None:
        lines.append(f"importance: {explanation.importances.caveat}")
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
        "ranked by": criteria,
        "importance": "" if item.importance is None else share_text(item.importance),
    }
