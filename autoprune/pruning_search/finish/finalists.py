"""The trials near the front, ranked at the end of a search with samples that guided nothing.

Ranking by those samples alone would choose worse than all samples together do, and with few of them it would
flatter the chosen as much: see ``studies/selection``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from torch import nn

from autoprune.pruning_search.finish.test_front import trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.problem import Problem
from autoprune.study.attributes import PLAN, RANKING, RECORD, UNCHOSEN
from autoprune.study.estimates import ORIGINAL, Estimate, corrected, guided, ranked
from autoprune.study.front import feasible_trials, guided_front
from autoprune.study.listener import Listener
from autoprune.tasks import evaluate

MOST = 24
"""Finalists at most, beside those that are on the front by the selection split."""


def near_front(study: optuna.Study) -> list[FrozenTrial]:
    """The front by objective values, and trials that chance alone may keep off it, by number.

    Those are trials that would be on it were their quality better by its standard error: at most
    :data:`MOST`, the nearest first. Equal plans count once.
    """
    front, feasible = guided_front(study), feasible_trials(study)
    on_front = {trial.number for trial in front}
    plans = {trial.user_attrs.get(PLAN, trial.number) for trial in front}
    others = [trial for trial in feasible if trial.user_attrs.get(PLAN, trial.number) not in plans]
    if not others:
        return front
    losses = _losses(study, feasible)
    distances = {
        trial.number: _lag(_losses(study, [trial])[0], losses) / guided(trial).error  # type: ignore[operator]
        for trial in others
        if trial.number not in on_front and guided(trial).error
    }
    nearest = sorted((distance, number) for number, distance in distances.items() if distance < 1)[:MOST]
    chosen = {number for _, number in nearest} | on_front
    first: dict[object, FrozenTrial] = {}
    for trial in feasible:
        if trial.number in chosen:
            first.setdefault(trial.user_attrs.get(PLAN, trial.number), trial)
    return list(first.values())


def worth_keeping(study: optuna.Study) -> list[FrozenTrial]:
    """The trials whose weights will be needed: all that may be ranked, or the front where nothing ranks."""
    ranks = study.user_attrs.get(RECORD, {}).get("ranking_samples", 0) > 0
    return near_front(study) if ranks else guided_front(study)


def rank_finalists(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Rank the finalists, and write down what they are worth.

    The original model and every finalist are scored once in the study's life on the holdout split.
    """
    if problem.splits.holdout is None:
        return
    estimates = ranked(study, UNCHOSEN)
    finalists = near_front(study)
    waiting = [trial for trial in finalists if str(trial.number) not in estimates]
    if ORIGINAL not in estimates:
        estimates[ORIGINAL] = _score_on_holdout(problem, problem.model)
    for done, trial in enumerate(waiting):
        listener.progress(done / len(waiting), f"trial {trial.number}")
        estimates[str(trial.number)] = _score_on_holdout(problem, trial_model(problem, trial, store)[0])
    study.set_user_attr(UNCHOSEN, {name: asdict(estimate) for name, estimate in estimates.items()})
    chosen = {str(t.number): t.values[0] for t in finalists if t.user_attrs.get(PLAN) != "original"}
    kept = {name: estimates[name] for name in (ORIGINAL, *(str(trial.number) for trial in finalists))}
    selected, held_out = len(problem.splits.selection), len(problem.splits.holdout)
    ranking = corrected(kept, chosen, selected / (selected + held_out))
    study.set_user_attr(RANKING, {name: asdict(estimate) for name, estimate in ranking.items()})


def _score_on_holdout(problem: Problem, model: nn.Module) -> Estimate:
    """A model's quality on the holdout split, with its noise."""
    assert problem.splits.holdout is not None
    score = evaluate(model, problem.splits.holdout, problem.data.task)
    noise = score.noise(problem.data.task)
    return Estimate(score.value) if noise is None else Estimate(score.value, **asdict(noise))


def _losses(study: optuna.Study, trials: list[FrozenTrial]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Objective values ``[trials, objectives]``, all to be minimised."""
    signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
    return np.array([trial.values for trial in trials], dtype=np.float64) * signs


def _lag(own: np.ndarray[Any, np.dtype[np.float64]], others: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """How much worse its quality is than the best of those that cost no more."""
    affordable = others[(others[:, 1:] <= own[1:]).all(axis=1)]
    return float(own[0] - affordable[:, 0].min())
