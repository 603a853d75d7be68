"""The terminal, in which nothing that a study or a file says has an effect."""

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
    """Rich's console, which writes out what it is given to show, and obeys none of it.

    Colours and the places of live displays are Rich's own; they come as styles and controls, never in a text.
    """

    def __init__(self, *, stderr: bool = False, file: TextIO | None = None, width: int | None = None) -> None:
        super().__init__(stderr=stderr, file=file, width=width, markup=False, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The parts that a renderable consists of, their texts made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n"))


def cell(text: str, style: str = "") -> Text:
    """A text from outside on a line of its own, or in a table, as wide as it is shown."""
    return Text(printable(text), style=style)


class _PlainRecord(logging.LogRecord):
    """A line of a log of which nothing has an effect."""

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage(), keep="\n\t")


def show_others_plainly() -> None:
    """Have the logs and warnings of libraries, which name studies and files too, made printable."""
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
