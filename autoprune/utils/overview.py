"""An object in a few lines: a title, and rows of a name and a text; as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.utils.printable import html_text, printable

LONGEST = 110
"""Characters of a row's text and of a title."""


def overview_text(title: str, rows: Mapping[str, str]) -> str:
    """The title, and below it the rows that are not empty, aligned."""
    shown = {name: text for name, text in rows.items() if text}
    width = max(map(len, shown), default=0)
    lines = [f"  {name:<{width}}  {printable(_short(text))}" for name, text in shown.items()]
    return "\n".join([printable(_short(title)), *lines])


def overview_html(title: str, rows: Mapping[str, str]) -> str:
    """The same as a table; everything in it is shown as text."""
    lines = "".join(
        f"<tr><th>{html_text(name)}</th><td>{html_text(_short(text))}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return f"<table><caption>{html_text(_short(title))}</caption>{lines}</table>"


def listed(texts: list[str], most: int = 4) -> str:
    """The first few texts, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def counted(count: int, what: str) -> str:
    """``1 group`` or ``1,200 groups``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
