"""The number of CPU threads that computed a study: sums of another number of them round otherwise."""

from __future__ import annotations

import optuna
import torch

from autoprune.pruning_search.problem.problem import Problem
from autoprune.study.attributes import THREADS
from autoprune.study.listener import Listener
from autoprune.tasks.evaluate import device_of


def record_threads(problem: Problem, study: optuna.Study, listener: Listener) -> None:
    """Record how many threads this process computes with; the listener is notified where others were used.

    Nothing is recorded where another device computes.
    """
    if device_of(problem.model).type != "cpu":
        return
    recorded, here = list(study.user_attrs.get(THREADS, [])), torch.get_num_threads()
    if recorded and recorded[-1] == here:
        return
    if recorded:
        listener.note(
            f"trials so far were computed with {_text(recorded[-1])}, and with {_text(here)} from now on: "
            "the same plan gets slightly different weights"
        )
    study.set_user_attr(THREADS, [*recorded, here])


def _text(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"
