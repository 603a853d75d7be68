"""The commands: parse, call the Python API, print."""

from __future__ import annotations

import sys
from pathlib import Path

from autoprune.cli import models, studies
from autoprune.cli.frame import app

__all__ = ["app", "main", "models", "studies"]


def main() -> None:
    """Entry point of the ``autoprune`` command."""
    # A reference such as mypackage.module:factory means the working folder too, as with python -m.
    sys.path.append(str(Path.cwd()))
    app()
