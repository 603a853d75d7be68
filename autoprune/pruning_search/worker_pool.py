"""Several workers that search together, and the process that looks after them.

Each of them is ``autoprune worker``. They talk to each other through the study alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack

import optuna
from optuna.trial import TrialState

from autoprune.config.settings import Config
from autoprune.engines.base import End, Engine
from autoprune.engines.choice import make_engine
from autoprune.errors import ConfigError, TrialError
from autoprune.pruning_search.coordination.budget_usage import BudgetUsage, usage_of
from autoprune.pruning_search.coordination.retry import requeue_lost
from autoprune.pruning_search.loop import wait_for_others
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.run import begin
from autoprune.storages import read_address
from autoprune.study.attributes import ORIGIN
from autoprune.study.listener import Listener
from autoprune.study.origins import SAMPLER
from autoprune.study.states import INTERRUPTED

LOOK_SECONDS = 0.5
"""Between two looks at the workers and the study."""


def run_workers(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Search with as many workers as the settings say, until the budget of all together is spent.

    A worker that dies is reported, its trial is run again, and the others go on. Ctrl-C stops all of them:
    their trials are queued again, and KeyboardInterrupt is raised again.

    Raises TrialError when no worker is left and the budget is not spent.
    """
    begin(problem, study, store, listener)
    listener.phase("search", str(problem.budget))
    view = _ProgressReporter(problem, study, listener)
    engine = make_engine(problem.config, study.study_name, store.folder, listener.note)
    ends: list[End] = []
    with ExitStack() as stack:
        stack.callback(_stop, engine, study)
        count = problem.config.workers
        crew = f"{count} workers" if count > 1 else "one worker"
        listener.note(f"{crew} of {engine.start()}; their logs are in {store.folder}")
        while engine.left:
            time.sleep(LOOK_SECONDS)
            for end in engine.ended():
                ends.append(end)
                _report(end, study, listener, left=engine.left)
            # Showing a trial takes a while in a long study: the workers come first.
            view.update(LOOK_SECONDS)
    if all(end.why for end in ends) and not view.usage().is_over:
        raise TrialError(f"{'all ' * (count > 1)}{crew} ended early, the last one by {ends[-1].why}")
    wait_for_others(study, listener)
    view.update()


def check_sharable(config: Config, is_object: Mapping[str, bool]) -> None:
    """Raise ConfigError for what other processes cannot get: a storage in memory, or Python objects.

    `is_object` says of model and data whether they were handed over as objects.
    """
    if read_address(config.storage) == read_address("sqlite://"):
        raise ConfigError("workers cannot share a storage in memory: name a file or a database")
    for what in (name for name, given in is_object.items() if given):
        raise ConfigError(
            f"workers are separate processes and cannot get a Python object: give {what} as a string that "
            f"names a function, {what}='path/file.py:name', or search with workers=1"
        )


def _report(end: End, study: optuna.Study, listener: Listener, *, left: int) -> None:
    """Say that a worker ended before its time, and have its trial run again."""
    if not end.why:
        return
    requeue_lost(study)
    then = "it is started again where there is room" if end.again else f"{left} left"
    listener.note(f"worker {end.worker} ended early ({end.why}): {then}")


def _stop(engine: Engine, study: optuna.Study) -> None:
    """End all workers, and queue again what they did not finish."""
    if engine.left:
        engine.stop()
        requeue_lost(study, reason=INTERRUPTED)


class _ProgressReporter:
    """Notifies a listener of what all workers do, as if this process had done it."""

    def __init__(self, problem: Problem, study: optuna.Study, listener: Listener) -> None:
        self._problem, self._study, self._listener = problem, study, listener
        self._ended = {trial.number for trial in self._trials() if trial.state.is_finished()}
        self._begun = set(self._ended)

    def usage(self) -> BudgetUsage:
        """What is used of the budget now."""
        return usage_of(self._problem.budget, self._study)

    def update(self, seconds: float = math.inf) -> None:
        """Report events since the last call, for `seconds` at most; the next call reports the rest."""
        until = time.monotonic() + seconds
        count = self.usage().count
        for trial in self._trials():
            if time.monotonic() > until:
                return
            if trial.state is TrialState.WAITING:
                continue
            if trial.number not in self._begun:
                self._begun.add(trial.number)
                self._listener.trial_started(trial.number, trial.user_attrs.get(ORIGIN, SAMPLER), count)
            if trial.state.is_finished() and trial.number not in self._ended:
                self._ended.add(trial.number)
                self._listener.trial_finished(self._study, trial, count)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)
