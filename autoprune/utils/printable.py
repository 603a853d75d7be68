"""Text from outside (a study, a file, an exception) made fit to be shown: it can move and colour nothing.

Terminals obey control characters, and readers are misled by those that turn the direction of writing.
"""

from __future__ import annotations

import html
import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, but Persian and emoji are spelled with them."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories: controls, characters that format, halves of characters, and line breaks."""
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])")
_BACKTICKS = re.compile("`+")


def printable(text: str, *, keep: str = "") -> str:
    """The text with everything that is not seen written as an escape: ``\\x1b``, ``\\n``, ``\\u202e``.

    Args:
        text: of any kind.
        keep: characters that stay, such as line breaks in what has several lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or not _is_unseen(char) else _escaped(char) for char in text)


def one_line(text: str) -> str:
    """The text on a line, printable: each run of spaces and line breaks is one space."""
    return printable(" ".join(text.split()))


def html_text(text: str) -> str:
    """The text as HTML, in an element or in quotes; also as Plotly's labels, which take some HTML."""
    return html.escape(printable(text))


def markdown_text(text: str) -> str:
    """The text as Markdown on one line, in which it is no link, image, element, mark or emphasis."""
    plain = printable(text).replace("&", "&amp;")
    return _MARKDOWN.sub(r"\\\g<0>", plain).replace("#", "&#35;")


def code_span(text: str) -> str:
    """The text as code in a line of Markdown."""
    plain = printable(text)
    longest = max(map(len, _BACKTICKS.findall(plain)), default=0)
    if not longest:
        return f"`{plain}`"
    fence = "`" * (longest + 1)
    return f"{fence} {plain} {fence}"


def code_cell(text: str) -> str:
    """The text as code in a cell of a Markdown table, where a bar would end the cell."""
    return code_span(text).replace("|", r"\|")


def _is_unseen(char: str) -> bool:
    return char not in _JOINERS and unicodedata.category(char) in _UNSEEN


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
