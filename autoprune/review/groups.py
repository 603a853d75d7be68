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
"""Layers named in a cell; the others are counted."""


def groups_table(found: Mapping[str, Any]) -> RenderableType:
    """What an inspection found, in the form of its ``as_dict``."""
    parts: list[RenderableType] = [cell(_headline(found), "bold")]
    if found["groups"]:
        parts += [_table(found["groups"]), *map(Text, _legend(found["groups"]))]
    if found["frozen"]:
        parts += [Text(""), _frozen(found["frozen"])]
    return Group(*parts)


def _headline(found: Mapping[str, Any]) -> str:
    costs = (
        f"{human_count(found['flops'])} FLOPs",
        f"{human_count(found['parameters'])} parameters",
        human_bytes(found["size"]),
    )
    counts = f"{len(found['groups'])} groups, {len(found['frozen'])} frozen"
    return f"{found['model']}: {', '.join(costs)}; {counts}"


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
    """The share with its interval; noise where it may be none, and slower where it is below none."""
    share, low, high = (group[f"latency_share{end}"] for end in ("", "_low", "_high"))
    if low <= 0 <= high:
        return f"{NOISE}, ±{max(-low, high):.1%}"
    return (
        f"{share:.1%}, {SLOWER}"
        if share < 0
        else f"{share_text(share)} ({share_text(low)} to {share_text(high)})"
    )


def _legend(groups: list[Mapping[str, Any]]) -> Iterator[str]:
    """What the words in the column of latency say, for those that are in it."""
    said = [_latency(group) for group in groups if group["latency_share"] is not None]
    if any(text.startswith(NOISE) for text in said):
        yield f"{NOISE}: with one unit of the group left, latency is the same within the 95 % interval"
    if any(text.endswith(SLOWER) for text in said):
        yield f"{SLOWER}: this runtime takes longer with one unit of the group left than with all"


def _others(group: Mapping[str, Any]) -> str:
    """The layers that shrink with the one that gives the group its name."""
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
