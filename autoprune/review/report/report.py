"""The report, assembled from its parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import optuna

from autoprune.review.card import device_text
from autoprune.review.report.parts import (
    LEFT,
    learned_html,
    page,
    pictures_html,
    section,
    side,
    write_page,
)
from autoprune.review.table import Line, counts_text, front_lines, masks_text, sparsified_text
from autoprune.review.text import limits_text
from autoprune.review.words import export_command
from autoprune.study.explanation import explain
from autoprune.study.front import Summary, front, summary, undefined_original
from autoprune.utils.printable import html_text

_REST = re.compile(r" (?=[±(])")
_LISTED = "<p>One line for each trial within the budget that no other trial beats in every objective.</p>"


def write_report(study: optuna.Study, storage: str, file: Path) -> None:
    """Write the report on a study to a file atomically.

    Raises:
        StudyError: the study was not made by autoprune.
        UserError: the file cannot be written.
    """
    write_page(report_html(study, storage), file)


def report_html(study: optuna.Study, storage: str) -> str:
    """The report as HTML; nothing in it is loaded from elsewhere.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    # Imported here, as below: Plotly is slow to import, and most commands draw nothing.
    from autoprune.review.figures import pictures

    study_summary, drawn = summary(study), pictures(study)
    columns, lines = front_lines(front(study), study_summary)
    sections = (
        section("best", "Best within the budget", _best(study, storage, study_summary, columns, lines)),
        pictures_html(drawn),
        "" if study_summary.best is None else learned_html(explain(study, study_summary.best)),
        section("front", "The front", f"{_LISTED}\n{_table(study, storage, columns, lines)}"),
    )
    return page(study_summary.name, sections, drawn, _facts(study, study_summary))


def _facts(study: optuna.Study, study_summary: Summary) -> Iterable[str]:
    facts = {
        "Model": study_summary.model,
        "Budget": limits_text(study_summary.limits) or "no limit",
        "Trials": counts_text(study_summary),
        "Validation": f"{study_summary.samples:,} samples",
        "Machine": device_text(study),
        "Base model": sparsified_text(study_summary),
        "Masks": masks_text(study_summary) if study_summary.granularity else "",
    }
    return (f"<dt>{name}</dt><dd>{html_text(value)}</dd>" for name, value in facts.items() if value)


def _best(
    study: optuna.Study, storage: str, study_summary: Summary, columns: Sequence[str], lines: Sequence[Line]
) -> str:
    line = next((line for line in lines if line.cells["trial"] == str(study_summary.best)), None)
    if line is None:
        return f"<p>{html_text(undefined_original(study) or 'No trial is within the budget yet.')}</p>"
    shown = [name for name in columns if name not in LEFT and line.cells[name]]
    numbers = "\n".join(
        f"<div><dt>{html_text(name)}</dt><dd>{_number(line.cells[name])}</dd></div>" for name in shown
    )
    command = html_text(export_command(study, storage, "--best"))
    return f'<div class="best"><dl class="numbers">\n{numbers}\n</dl><p><code>{command}</code></p></div>'


def _number(cell: str) -> str:
    """The number of a cell, followed in small print by its error or its ratio to the original model."""
    number, rest = _REST.split(cell, maxsplit=1) if _REST.search(cell) else (cell, "")
    return html_text(number) + (f" <small>{html_text(rest)}</small>" if rest else "")


def _table(study: optuna.Study, storage: str, columns: Sequence[str], lines: Sequence[Line]) -> str:
    heads = "".join(f"<th{side(name)}>{html_text(name)}</th>" for name in columns)
    rows = "\n".join(_row(study, storage, columns, line) for line in lines)
    return f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n{rows}\n</table></div>'


def _row(study: optuna.Study, storage: str, columns: Sequence[str], line: Line) -> str:
    """The numbers of one model, and below them its export command."""
    cells = "".join(
        f'<td{side(name)} data-label="{html_text(name)}">{html_text(line.cells[name])}</td>'
        for name in columns
    )
    number, command = line.cells["trial"], ""
    if number:
        text = html_text(export_command(study, storage, f"--trial {number}"))
        command = f'<tr class="command"><td colspan="{len(columns)}"><code>{text}</code></td></tr>'
    best = ' class="best-row"' if "best" in line.cells[""] else ""
    return f"<tbody{best}><tr>{cells}</tr>{command}</tbody>"
