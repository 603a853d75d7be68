"""A worker does not outlive the process that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

PARENT_VARIABLE, PARENT_SECONDS = "AUTOPRUNE_PARENT", 1.0
"""Environment: the process that a worker does not outlive, and how often it looks, in seconds."""


def end_with_parent() -> None:
    """Stop in good order when the process that started this one, if it left its number, is gone.

    Killed itself, it cannot stop its workers any more; they would go on beside those of the next search.
    """
    parent = os.environ.get(PARENT_VARIABLE, "")
    if parent.isdecimal():
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
