"""Asking for the next trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from autoprune.pruning_search.proposals.joint_tpe import JointTPE
from autoprune.storages.optuna_private import storage_of, study_id_of


def ask(study: optuna.Study, marks: Mapping[str, Any]) -> optuna.Trial:
    """The first trial of the queue, else a new one with these attributes.

    Where the sampler can tell all parameters before there is a trial, it begins with them: one call of the
    storage instead of one for each parameter, and no other worker ever sees it without them.
    """
    drawn = (
        None if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)) else _draw_trial(study, marks)
    )
    return study.ask() if drawn is None else drawn


def begin_trial(
    study: optuna.Study,
    parameters: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    marks: Mapping[str, Any],
) -> optuna.Trial:
    """A new running trial with these parameters and attributes, made in one call of the storage."""
    template = create_trial(
        state=TrialState.RUNNING,
        params=dict(parameters),
        distributions=dict(space),
        user_attrs=dict(marks),
    )
    trial_id = storage_of(study).create_new_trial(study_id_of(study), template_trial=template)
    return optuna.Trial(study, trial_id)


def _draw_trial(study: optuna.Study, marks: Mapping[str, Any]) -> optuna.Trial | None:
    """A new trial with all that the sampler draws; None where it draws one parameter after another."""
    sampler = study.sampler
    if not isinstance(sampler, JointTPE):
        return None
    draft = create_trial(state=TrialState.RUNNING)
    space = sampler.infer_relative_search_space(study, draft)
    parameters = sampler.sample_relative(study, draft, space)
    return begin_trial(study, parameters, space, marks) if parameters else None
