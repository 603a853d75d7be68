"""The report's parts, put together."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import optuna

from autoprune.errors import UserError
from autoprune.files import replace_file
from autoprune.review.card import device_text
from autoprune.review.explained import LEFT_ALIGNED, explanation_lines, headline, notes
from autoprune.review.explanation import explain
from autoprune.review.front import Summary, front, summary
from autoprune.review.table import Line, counts_text, front_lines, masks_text, sparsified_text
from autoprune.review.text import limits_text
from autoprune.review.words import export_command

if TYPE_CHECKING:
    from autoprune.review.figures import Picture

_LEFT = ("", "origin", *LEFT_ALIGNED)
_REST = re.compile(r" (?=[±(])")


def write_report(study: optuna.Study, storage: str, file: Path) -> None:
    """Write the report on a study to a file, whole or not at all.

    Raises:
        StudyError: the study was not made by autoprune.
        UserError: the file cannot be written.
    """
    text = report_html(study, storage)
    if not file.parent.is_dir():
        raise UserError(
            f"cannot write {file} (there is no folder {file.parent}): choose another file with -o"
        )
    try:
        replace_file(file, text)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): choose another file with -o") from error


def report_html(study: optuna.Study, storage: str) -> str:
    """The report as HTML; nothing in it is loaded from elsewhere.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    # Imported here, as below: Plotly takes a while, and most commands draw nothing.
    from autoprune.review.figures import pictures

    found, drawn = summary(study), pictures(study)
    columns, lines = front_lines(front(study), found)
    return Template(_asset("page.html")).substitute(
        title=escape(found.name),
        version=escape(version("autoprune")),
        day=datetime.now(UTC).date().isoformat(),
        style=_asset("page.css"),
        script=_asset("page.js"),
        facts="\n".join(_facts(study, found)),
        best=_best(study, storage, found, columns, lines),
        pictures="\n".join(map(_figure, drawn)),
        learned=_learned(study, found),
        table=_table(study, storage, columns, lines),
        data="\n".join(map(_data, drawn)),
        plotly=_packed_plotly(),
    )


def _facts(study: optuna.Study, found: Summary) -> Iterable[str]:
    facts = {
        "Model": found.model,
        "Budget": limits_text(found.limits) or "no limit",
        "Trials": counts_text(found),
        "Validation": f"{found.samples:,} samples",
        "Machine": device_text(study),
        "Base model": sparsified_text(found),
        "Masks": masks_text(found) if found.granularity else "",
    }
    return (f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)


def _best(
    study: optuna.Study, storage: str, found: Summary, columns: Sequence[str], lines: Sequence[Line]
) -> str:
    line = next((line for line in lines if line.cells["trial"] == str(found.best)), None)
    if line is None:
        return "<p>No trial is within the budget yet.</p>"
    told = [name for name in columns if name not in _LEFT and line.cells[name]]
    numbers = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{_number(line.cells[name])}</dd></div>" for name in told
    )
    command = escape(export_command(study, storage, "--best"))
    return f'<div class="best"><dl class="numbers">\n{numbers}\n</dl><p><code>{command}</code></p></div>'


def _number(cell: str) -> str:
    """The number of a cell, and smaller what follows it: its error or its ratio to the uncut model."""
    number, rest = _REST.split(cell, maxsplit=1) if _REST.search(cell) else (cell, "")
    return escape(number) + (f" <small>{escape(rest)}</small>" if rest else "")


def _learned(study: optuna.Study, found: Summary) -> str:
    """The section on what the best trial says of each group; nothing while there is none."""
    if found.best is None:
        return ""
    told = explain(study, found.best)
    columns, lines = explanation_lines(told)
    heads = "".join(f"<th{_side(name)}>{escape(name)}</th>" for name in columns)
    rows = "\n".join(
        "<tbody><tr>"
        + "".join(
            f'<td{_side(name)} data-label="{escape(name)}">{escape(cell)}</td>'
            for name, cell in zip(columns, line, strict=True)
        )
        + "</tr></tbody>"
        for line in lines
    )
    remarks = "".join(f"<p>{escape(note)}</p>" for note in notes(told))
    return (
        '<section aria-labelledby="learned">\n<h2 id="learned">What was learned</h2>\n'
        f'<p>{escape(headline(told))}.</p>\n<div class="table"><table><thead><tr>{heads}</tr></thead>\n'
        f"{rows}</table></div>\n{remarks}\n</section>"
    )


def _table(study: optuna.Study, storage: str, columns: Sequence[str], lines: Sequence[Line]) -> str:
    heads = "".join(f"<th{_side(name)}>{escape(name)}</th>" for name in columns)
    rows = "\n".join(_row(study, storage, columns, line) for line in lines)
    return f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n{rows}\n</table></div>'


def _row(study: optuna.Study, storage: str, columns: Sequence[str], line: Line) -> str:
    """The numbers of one model, and below them the command that exports it."""
    cells = "".join(
        f'<td{_side(name)} data-label="{escape(name)}">{escape(line.cells[name])}</td>' for name in columns
    )
    number, command = line.cells["trial"], ""
    if number:
        text = escape(export_command(study, storage, f"--trial {number}"))
        command = f'<tr class="command"><td colspan="{len(columns)}"><code>{text}</code></td></tr>'
    best = ' class="best-row"' if "best" in line.cells[""] else ""
    return f"<tbody{best}><tr>{cells}</tr>{command}</tbody>"


def _side(name: str) -> str:
    return ' class="left"' if name in _LEFT else ""


def _figure(picture: Picture) -> str:
    height = picture.figure.layout.height
    return (
        f"<figure><figcaption><strong>{escape(picture.title)}</strong>{escape(picture.caption)}</figcaption>\n"
        f'<div class="plot" role="img" aria-label="{escape(picture.alt)}" '
        f'data-figure="data-{picture.name}" style="min-height:{height}px"></div>'
        f"<noscript><p>{escape(picture.alt)}</p></noscript></figure>"
    )


def _data(picture: Picture) -> str:
    # A text in the data must not end the element that holds it.
    content = picture.figure.to_json().replace("<", "\\u003c")
    return f'<script type="application/json" id="data-{picture.name}">{content}</script>'


def _packed_plotly() -> str:
    """Plotly's script, compressed: as it is, it alone takes 5 MB."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
