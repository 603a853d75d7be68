"""Parts of the pages: files, figures, and the table of what a trial learned about each group."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from autoprune.errors import UserError
from autoprune.review.explained import LEFT_ALIGNED, explanation_lines, headline, notes
from autoprune.study.explanation import Explanation
from autoprune.utils.atomic_files import replace_file
from autoprune.utils.printable import html_text

if TYPE_CHECKING:
    from autoprune.review.figures import Picture

LEFT = ("", "origin", *LEFT_ALIGNED)
"""Text columns."""
_NO_PICTURES = (
    "<noscript><p>The figures need JavaScript, which is included in this file; their descriptions and the "
    "table below do not.</p></noscript>\n"
    '<p id="no-pictures" hidden>This browser cannot decompress the figures: open the file in a newer one.</p>'
)


def write_page(text: str, file: Path) -> None:
    """Write a page to a file atomically. Raises UserError if it cannot be written."""
    if not file.parent.is_dir():
        raise UserError(
            f"cannot write {file} (there is no folder {file.parent}): choose another file with -o"
        )
    try:
        replace_file(file, text)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): choose another file with -o") from error


def page(title: str, sections: Iterable[str], drawn: Sequence[Picture], facts: Iterable[str] = ()) -> str:
    """A self-contained page: nothing is loaded from elsewhere."""
    listed = "\n".join(facts)
    return Template(_asset("page.html")).substitute(
        title=html_text(title),
        version=html_text(version("autoprune")),
        day=datetime.now(UTC).date().isoformat(),
        style=_asset("page.css"),
        script=_asset("page.js"),
        facts=f"<dl>\n{listed}\n</dl>" if listed else "",
        main="\n".join(sections),
        data="\n".join(map(_data, drawn)),
        plotly=_packed_plotly(),
    )


def section(name: str, title: str, content: str) -> str:
    """A part of a page under its heading."""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}\n</section>'


def pictures_html(drawn: Iterable[Picture]) -> str:
    """The section with the figures."""
    figures = "\n".join(map(_figure, drawn))
    return section("pictures", "Figures", f'{_NO_PICTURES}\n<div class="pictures">\n{figures}\n</div>')


def side(name: str) -> str:
    """The alignment of a column's cells."""
    return ' class="left"' if name in LEFT else ""


def learned_html(explanation: Explanation) -> str:
    """The section on what a trial learned about each group."""
    columns, lines = explanation_lines(explanation)
    heads = "".join(f"<th{side(name)}>{html_text(name)}</th>" for name in columns)
    rows = "\n".join(
        "<tbody><tr>"
        + "".join(
            f'<td{side(name)} data-label="{html_text(name)}">{html_text(cell)}</td>'
            for name, cell in zip(columns, line, strict=True)
        )
        + "</tr></tbody>"
        for line in lines
    )
    remarks = "".join(f"<p>{html_text(note)}</p>" for note in notes(explanation))
    table = f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n{rows}</table></div>'
    return section(
        "learned", "What was learned", f"<p>{html_text(headline(explanation))}.</p>\n{table}\n{remarks}"
    )


def _figure(picture: Picture) -> str:
    height = picture.figure.layout.height
    return (
        f"<figure><figcaption><strong>{html_text(picture.title)}</strong>{html_text(picture.caption)}</figcaption>\n"
        f'<div class="plot" role="img" aria-label="{html_text(picture.alt)}" '
        f'data-figure="data-{picture.name}" style="min-height:{height}px"></div>'
        f"<noscript><p>{html_text(picture.alt)}</p></noscript></figure>"
    )


def _data(picture: Picture) -> str:
    # Text in the data must not close the element that contains it.
    content = picture.figure.to_json().replace("<", "\\u003c")
    return f'<script type="application/json" id="data-{picture.name}">{content}</script>'


@cache
def _packed_plotly() -> str:
    """Plotly's script, compressed: uncompressed, it takes 5 MB."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
