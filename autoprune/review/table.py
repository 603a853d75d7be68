"""The Pareto front as a table in the terminal, and as CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype
from rich import box
from rich.table import Table

from autoprune.review.text import limits_text, quality_text, share_text, trials_text
from autoprune.study.front import Summary
from autoprune.study.states import COUNTED, state_texts
from autoprune.utils.console import PlainConsole, cell
from autoprune.utils.printable import printable
from autoprune.utils.quantities import human_bytes, human_count, human_seconds

_DROPPED_FIRST = ("size", "origin", "parameters", "compressed", "test", "latency")
_LEFT_ALIGNED = ("", "origin")
_FORMULA = ("=", "+", "-", "@")
"""What a formula of a spreadsheet begins with."""


@dataclass(frozen=True)
class Line:
    """One line of the table: its cells by column, and how it is shown."""

    cells: Mapping[str, str]
    style: str


def front_lines(frame: pd.DataFrame, summary: Summary) -> tuple[list[str], list[Line]]:
    """The non-empty columns, and a line each for the original model and the trials on the front."""
    lines = [_original(summary), *(_trial(row, summary) for row in _cut(frame))]
    return [name for name in lines[0].cells if name in _LEFT_ALIGNED or _filled(name, lines)], lines


def front_table(frame: pd.DataFrame, summary: Summary, *, width: int = 80) -> Table:
    """The front below the original model, with the best trial marked.

    Columns that do not fit in ``width`` characters are dropped, the least important first.
    """
    columns, lines = front_lines(frame, summary)
    measure = PlainConsole(width=1000)
    table = _table(columns, lines)
    for name in _DROPPED_FIRST:
        if measure.measure(table).maximum <= width:
            break
        columns = [column for column in columns if column != name]
        table = _table(columns, lines)
    return table


def headline(summary: Summary) -> str:
    """Study, model, limits and trial counts, in two lines."""
    limits = limits_text(summary.limits) or "no limit"
    lines = [f"{summary.name}: {summary.model}, {limits}", counts_text(summary)]
    more = [masks_text(summary) if summary.granularity else "", sparsified_text(summary)]
    return "\n".join(map(printable, [*lines, *filter(None, more)]))


def sparsified_text(summary: Summary) -> str:
    """How the model was sparsely trained, and its quality after that; empty if it was not."""
    if summary.sparsified_quality is None:
        return ""
    quality = quality_text(summary.metric, summary.sparsified_quality)
    return f"sparse training ({summary.sparsified}): {summary.metric} {quality} before pruning"


def masks_text(summary: Summary) -> str:
    """What masks change and what they do not, in one line."""
    return (
        f"masks ({summary.granularity}): tensors keep their shapes, so dense FLOPs "
        f"({human_count(summary.baseline.flops)}) and latency do not change; size is for compressed weights"
    )


def counts_text(summary: Summary) -> str:
    """``100 trials: 80 evaluated, 18 over budget, 2 failed; also 1 running``.

    The first number counts the trials that count towards the budget, as in a search's progress.
    """
    parts = state_texts(summary.trials, COUNTED)
    besides = state_texts(summary.trials, [state for state in summary.trials if state not in COUNTED])
    text = trials_text(sum(summary.trials.get(state, 0) for state in COUNTED))
    text += f": {', '.join(parts)}" if parts else ""
    return text + (f"; also {', '.join(besides)}" if besides else "")


def to_csv(frame: pd.DataFrame) -> str:
    """The front as CSV with a header line; numbers in full, unknown ones empty.

    Texts are printable, and one that a spreadsheet would take for a formula begins with ``'``.
    """
    written = frame.rename(columns=_csv_cell)
    for name, kind in written.dtypes.items():
        if not is_numeric_dtype(kind):
            written[name] = written[name].map(_csv_cell)
    return written.to_csv(index=False, lineterminator="\n")


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_json(frame: pd.DataFrame) -> str:
    """The front as a JSON list of objects; unknown numbers are null."""
    return frame.to_json(orient="records", indent=2, double_precision=15) + "\n"


def _original(summary: Summary) -> Line:
    baseline = summary.baseline
    is_best = baseline.trial is not None and baseline.trial == summary.best
    test, latency = baseline.test_quality, baseline.latency_ms
    cells = {
        "": "original, best" if is_best else "original",
        "trial": "" if baseline.trial is None else str(baseline.trial),
        summary.metric: quality_text(summary.metric, baseline.quality, baseline.quality_error),
        "test": "" if test is None else quality_text(summary.metric, test),
        **{name: quality_text(name, value) for name, value in baseline.others.items()},
        _flops(summary): f"{human_count(baseline.flops)} (100%)",
        "latency": "" if latency is None else _latency(latency, 1.0),
        "parameters": human_count(baseline.parameters),
        **({"non-zero": f"{human_count(baseline.nonzero)} (100%)"} if baseline.nonzero is not None else {}),
        _size(summary): human_bytes(baseline.size),
        "origin": "",
    }
    return Line(cells, "bold" if is_best else "dim")


def _cut(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.to_dict(orient="records")
    return [{str(name): value for name, value in row.items()} for row in rows if row["origin"] != "original"]


def _trial(row: Mapping[str, Any], summary: Summary) -> Line:
    metric = summary.metric
    is_best = row["trial"] == summary.best
    test, latency = row.get(f"test_{metric}"), row.get("latency_ms")
    cells = {
        "": "best" if is_best else "",
        "trial": str(row["trial"]),
        metric: quality_text(metric, row[metric], row[f"{metric}_error"]),
        "test": "" if test is None or isnan(test) else quality_text(metric, test),
        **{name: quality_text(name, row[name]) for name in summary.baseline.others},
        _flops(summary): f"{human_count(row['flops'])} ({share_text(row['flops_ratio'])})",
        "latency": "" if latency is None or isnan(latency) else _latency(latency, row.get("latency_ratio")),
        "parameters": human_count(row["parameters"]),
        **({"non-zero": _nonzero(row)} if summary.granularity else {}),
        _size(summary): human_bytes(row["size"]),
        "origin": str(row["origin"]),
    }
    return Line(cells, "bold" if is_best else "")


def _flops(summary: Summary) -> str:
    return "dense FLOPs" if summary.granularity else "FLOPs"


def _size(summary: Summary) -> str:
    return "compressed" if summary.granularity else "size"


def _nonzero(row: Mapping[str, Any]) -> str:
    return f"{human_count(row['nonzero'])} ({share_text(row['nonzero_ratio'])})"


def _latency(milliseconds: float, ratio: float | None) -> str:
    if ratio is None or isnan(ratio):
        return human_seconds(milliseconds / 1000)
    return f"{human_seconds(milliseconds / 1000)} ({ratio:.2f}×)"  # noqa: RUF001


def _filled(name: str, lines: list[Line]) -> bool:
    return name == "trial" or any(line.cells[name] for line in lines)


def _table(columns: list[str], lines: list[Line]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption=None if len(lines) > 1 else "no pruned model within the budget yet",
        caption_justify="left",
        caption_style="",
    )
    for name in columns:
        table.add_column(cell(name), justify="left" if name in _LEFT_ALIGNED else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(cell(line.cells[name]) for name in columns), style=line.style)
    return table


def comparison_table(rows: Sequence[Sequence[str]]) -> Table:
    """Rows of a measurement before, after, and its change."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(cell, row))
    return table
