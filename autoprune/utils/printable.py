"""Make untrusted text (from a study, a file, an exception) safe to display.

Terminals interpret control characters, and bidirectional formatting characters mislead readers.
"""

from __future__ import annotations

import html
import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, but needed in Persian and in emoji."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control, format and surrogate characters, line and paragraph separators."""
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])")
_BACKTICKS = re.compile("`+")


def printable(text: str, *, keep: str = "") -> str:
    """The text with all invisible characters escaped: ``\\x1b``, ``\\n``, ``\\u202e``.

    Args:
        text: any text.
        keep: characters that are not escaped, such as line breaks in multi-line text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or not _is_unseen(char) else _escaped(char) for char in text)


def one_line(text: str) -> str:
    """The text on one line, printable: each run of whitespace becomes one space."""
    return printable(" ".join(text.split()))


def html_text(text: str) -> str:
    """The text escaped for HTML, in elements and quoted attributes; also for Plotly's labels."""
    return html.escape(printable(text))


def markdown_text(text: str) -> str:
    """The text escaped for Markdown on one line: no links, images, elements, marks or emphasis."""
    plain = printable(text).replace("&", "&amp;")
    return _MARKDOWN.sub(r"\\\g<0>", plain).replace("#", "&#35;")


def code_span(text: str) -> str:
    """The text as inline code in Markdown."""
    plain = printable(text)
    longest = max(map(len, _BACKTICKS.findall(plain)), default=0)
    if not longest:
        return f"`{plain}`"
    fence = "`" * (longest + 1)
    return f"{fence} {plain} {fence}"


def code_cell(text: str) -> str:
    """The text as inline code in a cell of a Markdown table, where a bar would end the cell."""
    return code_span(text).replace("|", r"\|")


def _is_unseen(char: str) -> bool:
    return char not in _JOINERS and unicodedata.category(char) in _UNSEEN


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
