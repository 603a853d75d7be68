"""One search of ours from 70 % of the multiply-adds down; its front is read at every level."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from subject import Point, Run

from autoprune.api import Study, run_search
from autoprune.review import Listener
from autoprune.study.estimates import UNTRAINED

ABLATIONS: dict[str, dict[str, object]] = {
    "no compensation": {"compensate": False},
    "no distillation": {"distill": 0.0},
    "no early stopping": {"early_stopping": False},
    "coefficients, not widths": {"space": "criterion"},
    "random sampler": {"sampler": "random"},
    "no previews": {"preview": "never"},
    "no gaps": {"gaps": False},
}
"""Mechanism that is missing -> settings without it."""


def run(run: Run) -> None:
    """With the recovery that all methods have."""
    _search(run, {})


def untrained(run: Run) -> None:
    """Without any fine-tuning: layers are fitted to the cut network's own activations instead."""
    _search(run, {"finetune_steps": 0, "rebuild": True})


def ablated(run: Run) -> None:
    """Without one of the mechanisms, which the method's name says."""
    _search(run, ABLATIONS[run.method.partition(": ")[2]])


def _search(run: Run, settings: dict[str, object]) -> None:
    with TemporaryDirectory() as folder:
        storage = f"sqlite:///{Path(folder)}/ours.db"
        limits = {"budget": ("flops=70%", f"time={run.limit:.0f}s"), "storage": storage}
        config = run.config.model_copy(update=limits | settings)
        start = time.time()
        study = run_search(config, Listener())
        complete = study.optuna.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        scored = [t for t in complete if "quality" in t.user_attrs and "duplicate_of" not in t.user_attrs]
        for trial in _seen_in_front(scored):
            run.write(_point(run, study, trial, start))


def _seen_in_front(trials: Iterable[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """Those which were in the front when they were found, in the order in which they were."""
    seen: list[optuna.trial.FrozenTrial] = []
    for trial in sorted(trials, key=lambda trial: trial.datetime_complete or datetime.max):
        quality, cost = trial.values
        if not any(other.values[0] >= quality and other.values[1] <= cost for other in seen):
            seen.append(trial)
    return seen


def _point(run: Run, study: Study, trial: optuna.trial.FrozenTrial, start: float) -> Point:
    """A trial, scored as the other methods are; that is not on the clock, as it has its own score already."""
    model = study.model(trial.number)
    ended = trial.datetime_complete
    assert ended is not None
    return Point(
        method=run.method,
        seed=run.seed,
        seconds=ended.timestamp() - start,
        flops=run.multiply_adds(model) / run.original,
        steps=0 if UNTRAINED in trial.user_attrs else study.problem.config.finetune_steps,
        validation=run.accuracy(model),
        test=run.tested(model),
    )
