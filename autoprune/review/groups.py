"""The groups of a model as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoprune.review.text import share_text
from autoprune.utils.console import cell
from autoprune.utils.quantities import human_bytes, human_count

NOISE, SLOWER = "noise", "slower"
MOST_NAMES = 3
"""Number of layers named in a cell; the rest are counted."""


def groups_table(inspection: Mapping[str, Any]) -> RenderableType:
    """The table of an inspection, given as its ``as_dict``."""
    parts: list[RenderableType] = [cell(_headline(inspection), "bold")]
    if inspection["groups"]:
        parts += [_table(inspection["groups"]), *map(Text, _legend(inspection["groups"]))]
    if inspection["frozen"]:
        parts += [Text(""), _frozen(inspection["frozen"])]
    return Group(*parts)


def _headline(inspection: Mapping[str, Any]) -> str:
    costs = (
        f"{human_count(inspection['flops'])} FLOPs",
        f"{human_count(inspection['parameters'])} parameters",
        human_bytes(inspection["size"]),
    )
    counts = f"{len(inspection['groups'])} groups, {len(inspection['frozen'])} frozen"
    return f"{inspection['model']}: {', '.join(costs)}; {counts}"


def _table(groups: list[Mapping[str, Any]]) -> Table:
    timed = any(group["latency_share"] is not None for group in groups)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("group", overflow="fold")
    table.add_column("kind", no_wrap=True)
    for name in ("width", "FLOPs", "parameters", *(("latency",) if timed else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("with", overflow="fold")
    for group in groups:
        cells = [group["name"], group["kind"], str(group["width"])]
        cells += [share_text(group["flops_share"]), share_text(group["parameters_share"])]
        if timed:
            cells.append(_latency(group))
        table.add_row(*map(cell, [*cells, _others(group)]))
    return table


def _latency(group: Mapping[str, Any]) -> str:
    """The share with its interval; noise if the interval contains zero, slower if it is negative."""
    share, low, high = (group[f"latency_share{end}"] for end in ("", "_low", "_high"))
    if low <= 0 <= high:
        return f"{NOISE}, ±{max(-low, high):.1%}"
    return (
        f"{share:.1%}, {SLOWER}"
        if share < 0
        else f"{share_text(share)} ({share_text(low)} to {share_text(high)})"
    )


def _legend(groups: list[Mapping[str, Any]]) -> Iterator[str]:
    """What the words in the latency column mean, for those that occur."""
    cells = [_latency(group) for group in groups if group["latency_share"] is not None]
    if any(text.startswith(NOISE) for text in cells):
        yield f"{NOISE}: with one unit of the group left, latency is the same within the 95 % interval"
    if any(text.endswith(SLOWER) for text in cells):
        yield f"{SLOWER}: this runtime takes longer with one unit of the group left than with all"


def _others(group: Mapping[str, Any]) -> str:
    """The layers that shrink with the one that the group is named after."""
    names = [layer for layer in group["layers"] if layer != group["name"].partition("#")[0]]
    shown = ", ".join(names[:MOST_NAMES])
    return f"{shown} +{len(names) - MOST_NAMES}" if len(names) > MOST_NAMES else shown


def _frozen(frozen: Mapping[str, str]) -> Table:
    layers: dict[str, list[str]] = {}
    for layer, reason in frozen.items():
        layers.setdefault(reason, []).append(layer)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("frozen", overflow="fold")
    table.add_column("because", overflow="fold")
    for reason, names in layers.items():
        shown = ", ".join(names[:MOST_NAMES])
        more = f" +{len(names) - MOST_NAMES}" if len(names) > MOST_NAMES else ""
        table.add_row(cell(shown + more), cell(reason))
    return table
