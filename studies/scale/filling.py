"""Thousands of finished trials, written into a database at once: one after another would take an hour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, insert

VALUE = models.TrialValueModel.TrialValueType.FINITE


def add_finished(engine: Engine, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Write complete trials behind those that the study has, in one transaction."""
    first = len(study.get_trials(deepcopy=False))
    now = datetime.now()
    with engine.begin() as connection:
        rows = [
            {
                "number": first + at,
                "study_id": study._study_id,
                "state": TrialState.COMPLETE,
                "_datetime_start_utc": now,
                "_datetime_complete_utc": now,
            }
            for at in range(len(trials))
        ]
        made = insert(models.TrialModel).returning(models.TrialModel.trial_id, sort_by_parameter_order=True)
        pairs = list(zip(connection.execute(made, rows).scalars(), trials, strict=True))
        parameters = [
            {
                "trial_id": key,
                "param_name": name,
                "param_value": distribution.to_internal_repr(trial.params[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            for key, trial in pairs
            for name, distribution in trial.distributions.items()
        ]
        attributes = [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key, trial in pairs
            for name, value in trial.user_attrs.items()
        ]
        values = [
            {"trial_id": key, "objective": at, "value": value, "value_type": VALUE}
            for key, trial in pairs
            for at, value in enumerate(trial.values)
        ]
        connection.execute(insert(models.TrialParamModel), parameters)
        connection.execute(insert(models.TrialUserAttributeModel), attributes)
        connection.execute(insert(models.TrialValueModel), values)
