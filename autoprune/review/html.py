"""A study as HTML for notebooks: a summary, and its front as a table."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from autoprune.review.table import Line, counts_text, front_lines
from autoprune.review.text import limits_text
from autoprune.study.front import front, summary
from autoprune.utils.printable import html_text

_LEFT = ("", "origin")


def study_html(study: optuna.Study) -> str:
    """Name, model, budget, trials, and the front below the original model.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    study_summary = summary(study)
    columns, lines = front_lines(front(study), study_summary)
    limits = limits_text(study_summary.limits) or "no limit"
    name, model = html_text(study_summary.name), html_text(study_summary.model)
    return (
        f"<p><strong>{name}</strong>: {model}, {html_text(limits)}<br>"
        f"{html_text(counts_text(study_summary))}</p>\n{_table(columns, lines)}"
    )


def _table(columns: Sequence[str], lines: Sequence[Line]) -> str:
    heads = "".join(f'<th style="{_side(name)}">{html_text(name)}</th>' for name in columns)
    rows = "\n".join(_row(columns, line) for line in lines)
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(columns: Sequence[str], line: Line) -> str:
    weight = ' style="font-weight: bold"' if "best" in line.cells[""] else ""
    cells = "".join(f'<td style="{_side(name)}">{html_text(line.cells[name])}</td>' for name in columns)
    return f"<tr{weight}>{cells}</tr>"


def _side(name: str) -> str:
    return f"text-align: {'left' if name in _LEFT else 'right'}"
