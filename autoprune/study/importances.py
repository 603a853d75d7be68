"""Importance of each group for the quality, and how reliable these importances are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from sklearn.ensemble import RandomForestRegressor

from autoprune.study.attributes import attributes_of, trials_of
from autoprune.study.origins import SUGGESTED
from autoprune.study.record import study_record
from autoprune.study.states import state_of

LEAST_TRIALS = 8
"""Minimum number of trials for importances."""
TREES = 100
RELIABLE = 0.5
"""Share of the variance of unseen trials that a forest must predict."""


@dataclass(frozen=True)
class Importances:
    """Shares of the variance of quality, group by group.

    Attributes:
        shares: group -> share, the largest first.
        trials: number of trials with different plans.
        predicted: share of the variance of unseen trials that a random forest on the widths predicts; at most
            1, and below 0 if it is worse than the mean.
        sampled: share of the trials that a sampler suggested.
    """

    shares: Mapping[str, float]
    trials: int
    predicted: float
    sampled: float

    @property
    def caveat(self) -> str:
        """How to read the numbers, in a sentence or two."""
        text = (
            f"fANOVA over the widths of {self.trials} trials. A sampler concentrates on good regions, which "
            "biases these numbers: treat them as a hint and rely on the measured sensitivity."
        )
        if self.predicted >= RELIABLE:
            return text
        return (
            f"{text} Here, widths predict only {max(0.0, self.predicted):.0%} of the variance of new trials."
        )


def importances(study: optuna.Study) -> Importances | None:
    """Importance of each group's width to the quality; None for too few different trials.

    It uses the widths, not the parameters of the search space, so that spaces can be compared.
    Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", 2014.
    """
    full: Mapping[str, int] = study_record(study)["groups"]
    trials = [
        trial for trial in trials_of(study) if state_of(trial) == "COMPLETE" and _has_widths(trial, full)
    ]
    if len(trials) < LEAST_TRIALS or len({trial.values[0] for trial in trials}) < 2:
        return None
    widths = np.array([list(_widths(trial, full).values()) for trial in trials], dtype=np.float64)
    values = np.array([trial.values[0] for trial in trials])
    sampled = sum(attributes_of(trial).origin in SUGGESTED for trial in trials) / len(trials)
    return Importances(_shares(trials, full), len(trials), _predicted(widths, values), sampled)


def _shares(trials: list[FrozenTrial], full: Mapping[str, int]) -> dict[str, float]:
    distributions: dict[str, BaseDistribution] = {
        name: IntDistribution(0, width) for name, width in full.items()
    }
    copies = [
        create_trial(params=_widths(trial, full), distributions=distributions, value=trial.values[0])
        for trial in trials
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        scratch = optuna.create_study()
        scratch.add_trials(copies)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(scratch, evaluator=evaluator))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _predicted(widths: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Out-of-bag R squared."""
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0)
    forest.fit(widths, values)
    return float(forest.oob_score_)


def _widths(trial: FrozenTrial, full: Mapping[str, int]) -> dict[str, int]:
    widths = attributes_of(trial).widths or {}
    return {name: widths.get(name, width) for name, width in full.items()}


def _has_widths(trial: FrozenTrial, full: Mapping[str, int]) -> bool:
    """Whether the trial records widths, and the model has them."""
    widths = attributes_of(trial).widths or {}
    return bool(widths) and all(width <= full.get(name, 0) for name, width in widths.items())
