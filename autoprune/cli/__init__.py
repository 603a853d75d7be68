"""The commands: parse, call the Python API, print."""

from __future__ import annotations

import sys
from pathlib import Path

from autoprune.cli import beginnings, models, searching, studies, working
from autoprune.cli.frame import app
from autoprune.console import show_others_plainly
from autoprune.stopping import is_stop, leave, take_signals

__all__ = ["app", "beginnings", "main", "models", "searching", "studies", "working"]


def main() -> None:
    """Entry point of the ``autoprune`` command."""
    # A reference such as mypackage.module:factory means the working folder too, as with python -m.
    sys.path.append(str(Path.cwd()))
    take_signals()
    show_others_plainly()
    try:
        app()
    except SystemExit as end:
        if isinstance(end.code, int) and is_stop(end.code):
            leave(end.code)
        raise
