"""Terminal output, with control characters from studies and files escaped."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from autoprune.utils.printable import printable


class PlainConsole(Console):
    """Rich's console, with control characters in all text escaped.

    Colours and live displays still work: Rich passes them as styles and controls, never as text.
    """

    def __init__(self, *, stderr: bool = False, file: TextIO | None = None, width: int | None = None) -> None:
        super().__init__(stderr=stderr, file=file, width=width, markup=False, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable, with printable text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n"))


def cell(text: str, style: str = "") -> Text:
    """Untrusted text as a line or table cell, with its displayed width."""
    return Text(printable(text), style=style)


class _PlainRecord(logging.LogRecord):
    """A log record with control characters escaped."""

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage(), keep="\n\t")


def show_others_plainly() -> None:
    """Escape control characters in the logs and warnings of libraries, which name studies and files too."""
    shown = warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return printable(shown(message, category, filename, lineno, line), keep="\n\t")

    warnings.formatwarning = plain
    logging.setLogRecordFactory(_PlainRecord)


def echo(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Print lines to standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    stream.write(printable(text, keep="\n\t") + end)
    stream.flush()
