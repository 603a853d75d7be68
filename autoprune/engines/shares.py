"""What each of several workers gets of the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence


def equal_threads(cpus: Sequence[float], workers: int) -> int:
    """The most CPU threads that every one of the workers can have; `cpus` are those of each node.

    One where the nodes have no room for all workers at once: some of them wait.
    """
    most = int(max(cpus, default=0))
    fitting = (n for n in range(most, 1, -1) if sum(int(node // n) for node in cpus) >= workers)
    return next(fitting, 1)


def equal_gpus(gpus: Sequence[float], workers: int) -> float:
    """The GPU that every one of the workers can have, or the part of one; `gpus` are those of each node."""
    whole = sum(int(node) for node in gpus)
    return 1.0 if whole == 0 else 1.0 / max(1, math.ceil(workers / whole))
