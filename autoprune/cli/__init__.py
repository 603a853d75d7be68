"""The commands: parse, call the Python API, print."""

from __future__ import annotations

import sys
from pathlib import Path

from autoprune.cli import init, model, search, study, worker
from autoprune.cli.app import app, complain
from autoprune.cli.streams import lost_output, ready
from autoprune.utils.console import show_others_plainly
from autoprune.utils.signals import is_stop, leave, take_signals

__all__ = ["app", "init", "main", "model", "search", "study", "worker"]


def main() -> None:
    """Entry point of the ``autoprune`` command."""
    ready()
    try:
        Path.cwd()
    except OSError as error:
        complain(f"the working folder does not exist any more ({error.strerror}): change to another one")
        sys.exit(2)
    take_signals()
    show_others_plainly()
    try:
        app()
    except SystemExit as end:
        if isinstance(end.code, int) and is_stop(end.code):
            leave(end.code)
        lost = lost_output()
        if lost:
            complain(lost)
            sys.exit(end.code or 1)
        raise
    except OSError:
        lost = lost_output()
        if not lost:
            raise
        complain(lost)
        sys.exit(1)
