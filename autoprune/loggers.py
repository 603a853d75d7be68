"""Callbacks that log a search elsewhere, for ``callbacks=`` of :func:`autoprune.search`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoprune.errors import MissingExtraError
from autoprune.review import summary
from autoprune.study.attributes import attributes_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch.utils.tensorboard import SummaryWriter

_COSTS = ("flops", "flops_ratio", "parameters", "size", "nonzero_ratio", "latency_ms", "latency_ratio")
_NOT_IN_NAMES = re.compile(r"[^\w .:/-]")


class TensorBoard:
    """Writes each trial as a step: quality, costs, seconds of its stages, and the front so far.

    Args:
        folder: for ``tensorboard --logdir``.

    Raises:
        MissingExtraError: when tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(str(folder))

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Log one trial; those without a value add to the counts alone."""
        for name, value in _numbers(study, trial).items():
            self._writer.add_scalar(name, value, trial.number)
        self._writer.flush()


class MLflow:
    """Writes each trial as a run: its parameters, quality, costs, seconds, and what proposed it.

    Optuna's own callback cannot: MLflow refuses some names of our parameters.

    Args:
        tracking_uri: where MLflow keeps runs; None means as MLflow is set up.
        experiment: name of the experiment; None means the study's name.

    Raises:
        MissingExtraError: when mlflow is not installed.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str | None = None) -> None:
        _require("mlflow")
        from mlflow import MlflowClient

        self._client: MlflowClient = MlflowClient(tracking_uri)
        self._name = experiment

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Log one trial."""
        tags = {
            "study": study.study_name,
            "origin": attributes_of(trial).origin or "",
            "reason": attributes_of(trial).reason or "",
        }
        experiment = self._experiment(self._name or study.study_name)
        run = self._client.create_run(experiment, run_name=f"trial {trial.number}", tags=tags).info.run_id
        for name, value in trial.params.items():
            self._client.log_param(run, _NOT_IN_NAMES.sub("_", name), value)
        for name, value in _numbers(study, trial).items():
            self._client.log_metric(run, name, value, step=trial.number)
        failed = trial.state is TrialState.FAIL
        self._client.set_terminated(run, status="FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if known is None else known.experiment_id)


def _numbers(study: optuna.Study, trial: FrozenTrial) -> Mapping[str, float]:
    """What there is to log of a trial, and of the study after it."""
    known, found = attributes_of(trial), summary(study)
    numbers = {f"trial/{name}": value for name, value in known.known(_COSTS).items()}
    if known.quality is not None:
        numbers[f"trial/{found.metric}"] = known.quality
    numbers |= {f"seconds/{stage}": seconds for stage, seconds in known.seconds.items()}
    numbers["front/size"] = found.front
    if found.best is not None:
        numbers[f"best/{found.metric}"] = study.get_trials(deepcopy=False)[found.best].values[0]
    return numbers


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, package)
