"""Optuna's TPE, which reads and sorts the trials once a trial instead of once a parameter."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from autoprune.storages.optuna_private import drawn_by_tpe

FIRST_TRIALS = 10
"""Trials that are drawn at random before any is inferred."""
_READ_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class JointTPE(TPESampler):
    """Draws all parameters of a trial with several objectives in one go, each from a model of its own.

    These are Optuna's models and its draws: with one seed and one history both give the same parameters.
    Optuna asks the storage for all trials, and divides them into good and bad ones, for each parameter again,
    which with sixty of them is most of what a trial costs beside its evaluation.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=FIRST_TRIALS)
        self._space = IntersectionSearchSpace(include_pruned=True)

    @override
    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = self._space.calculate(study)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False, states=_READ_STATES)
        others = [other for other in trials if other.number != trial.number]
        ended = sum(other.state.is_finished() for other in others)
        if not search_space or ended < FIRST_TRIALS:
            return {}
        return drawn_by_tpe(self, study, others, search_space)
