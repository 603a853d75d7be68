"""A user's project with faults in it, and the command that searches it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--finetune-steps", "3", "--no-latency", "--calibration-batches", "1", "--quiet")
NAME = "faulty"

# The model is the embedded one; what goes wrong, and when, is said by the environment.
PROJECT = """
import os, signal, sys
import torch
from torch import nn
from autoprune.tasks import digits_resnet, load_data

FAULT, AT = os.environ.get("FAULT", ""), int(os.environ.get("AT", "0"))
if os.environ.get("WORKER") and os.environ["WORKER"] not in " ".join(sys.argv).partition("--name ")[2][:1]:
    FAULT = ""


def model():
    return digits_resnet()


def data():
    return load_data("digits")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at(count, act):
    "What calls `act` at its so manieth call."
    seen = 0

    def check():
        nonlocal seen
        seen += 1
        if seen == count:
            act()

    return check


if FAULT == "kill before tell":
    import optuna
    tell, check = optuna.Study.tell, at(AT, die)

    def dying_tell(self, *arguments, **named):
        check()
        return tell(self, *arguments, **named)

    optuna.Study.tell = dying_tell
if FAULT == "kill after tell":
    import optuna
    tell, check = optuna.Study.tell, at(AT, die)

    def told_and_dead(self, *arguments, **named):
        told = tell(self, *arguments, **named)
        check()
        return told

    optuna.Study.tell = told_and_dead
if FAULT == "kill in fine-tuning":
    from autoprune.recovery.training.finetune import _Run
    step, check = _Run._step, at(AT, die)

    def dying_step(self, *arguments):
        check()
        return step(self, *arguments)

    _Run._step = dying_step
if FAULT == "out of memory":
    from autoprune.recovery.training.finetune import _Run
    short_step = _Run._step

    def no_room():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    short = at(AT, no_room)

    def step_without_room(self, *arguments):
        short()
        return short_step(self, *arguments)

    _Run._step = step_without_room
if FAULT == "kill while writing":
    from autoprune.utils import atomic_files
    place, written = atomic_files.put_in_place, []

    def dying_place(partial, path):
        written.append(path)
        if len(written) == AT:
            partial.write_bytes(partial.read_bytes()[: partial.stat().st_size // 2])
            die()
        return place(partial, path)

    atomic_files.put_in_place = dying_place
"""


def search_command(*more: str, trials: int = 5, name: str = NAME) -> list[str]:
    """The search of the project in the working folder."""
    flags = ["--model", "net.py:model", "--data", "net.py:data", "--weights", "w.safetensors"]
    budget = ["--budget", f"flops=50%,trials={trials}", "--study", name]
    return [sys.executable, "-m", "autoprune", "search", *flags, *budget, *QUICK, *more]


def environment(**variables: str) -> dict[str, str]:
    """The environment with these variables."""
    return {**os.environ, **variables}


def study_in(folder: Path) -> optuna.Study:
    """The study of the project."""
    return optuna.load_study(study_name=NAME, storage=f"sqlite:///{folder}/autoprune.db")
