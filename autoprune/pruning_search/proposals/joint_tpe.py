"""Optuna's TPE, which reads and sorts the trials once a trial instead of once a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

FIRST_TRIALS = 10
"""Trials that are drawn at random before any is inferred."""
_READ_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class JointTPE(TPESampler):
    """Draws all parameters of a trial with several objectives in one go, each from a model of its own.

    These are Optuna's models and its draws: with one seed and one history both give the same parameters.
    Optuna asks the storage for all trials, and divides them into good and bad ones, for every parameter anew,
    which with sixty of them is most of what a trial costs beside its evaluation.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=FIRST_TRIALS)

    @override
    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = self._search_space.calculate(study, use_cache=True)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study._get_trials(deepcopy=False, states=_READ_STATES)
        others = [other for other in trials if other.number != trial.number]
        ended = sum(other.state.is_finished() for other in others)
        if not search_space or ended < FIRST_TRIALS:
            return {}
        halves = _split_trials(study, others, default_gamma_multiobjective(ended))
        good, bad = (self._get_internal_repr(half, search_space, study) for half in halves)
        drawn = {name: self._draw(search_space, name, good, bad) for name in search_space}
        return {name: search_space[name].to_external_repr(value) for name, value in drawn.items()}

    def _draw(
        self,
        search_space: dict[str, BaseDistribution],
        name: str,
        good: dict[str, np.ndarray],
        bad: dict[str, np.ndarray],
    ) -> float:
        """One parameter, from the candidates that good trials suggest the one that bad ones suggest least."""
        space, kernels = {name: search_space[name]}, self._parzen_estimator_parameters
        weights = np.ones(len(good[name]))
        below = self._parzen_estimator_cls({name: good[name]}, space, kernels, weights)
        above = self._parzen_estimator_cls({name: bad[name]}, space, kernels)
        candidates = below.sample(self._rng.rng, self._n_ei_candidates)
        gains = self._compute_acquisition_func(candidates, below, above)
        return self._compare(candidates, gains)[name]
