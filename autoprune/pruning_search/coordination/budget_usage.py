"""How much of the search budget is used, over all workers together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoprune.config.budget import Budget
from autoprune.study.attributes import DEADLINE, UNTRAINED
from autoprune.study.listener import Count
from autoprune.study.states import COUNTED, state_of

DEFAULT_TRIALS = 20
"""When the budget limits neither time nor trials."""


@dataclass(frozen=True)
class BudgetUsage:
    """How much of the search budget is used: distinct plans recorded, and time.

    Previews, and candidates that were stopped early, took next to no time and do not count.

    Attributes:
        trials: that count and have ended.
        running: that have begun and not ended, of all workers.
        total: trials that the budget has; None when only time limits the search.
        seconds_left: until the time budget ends; None without one.
    """

    trials: int
    running: int
    total: int | None
    seconds_left: float | None

    @property
    def count(self) -> Count:
        """For the listener."""
        return Count(self.trials, self.total, self.seconds_left)

    @property
    def is_over(self) -> bool:
        """Whether no trial may begin any more."""
        return (self.total is not None and self.trials >= self.total) or self.seconds_left == 0.0

    @property
    def has_room(self) -> bool:
        """Whether another trial may begin while the others run."""
        return not self.is_over and (self.total is None or self.trials + self.running < self.total)


def total_of(budget: Budget) -> int | None:
    """Trials that the budget has; None when only time limits the search."""
    return DEFAULT_TRIALS if budget.trials is None and budget.seconds is None else budget.trials


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial has ended and counts towards the budget."""
    return state_of(trial) in COUNTED and UNTRAINED not in trial.user_attrs


def usage_of(budget: Budget, study: optuna.Study) -> BudgetUsage:
    """What is used now."""
    trials: Sequence[FrozenTrial] = study.get_trials(deepcopy=False)
    deadline = study.user_attrs.get(DEADLINE)
    running = sum(trial.state is TrialState.RUNNING for trial in trials)
    left = None if deadline is None else max(0.0, deadline - time.time())
    return BudgetUsage(sum(map(counts, trials)), running, total_of(budget), left)


def start_clock(budget: Budget, study: optuna.Study) -> None:
    """Let the time budget of a search begin now, for all its workers."""
    study.set_user_attr(DEADLINE, None if budget.seconds is None else time.time() + budget.seconds)
