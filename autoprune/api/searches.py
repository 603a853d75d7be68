"""Searching: from arguments or settings to a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from autoprune import review
from autoprune.api.study import Study
from autoprune.config.settings import Config
from autoprune.config.settings_dict import SettingsDict
from autoprune.engines.choice import engine_ready
from autoprune.pruning_search import (
    Problem,
    check_continues,
    continue_on_device,
    create_study,
    prepare,
    rank_finalists,
    run,
    test_front,
)
from autoprune.pruning_search.coordination.budget_usage import usage_of
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.latency_profile import ensure_profile
from autoprune.pruning_search.worker_pool import check_sharable, run_workers
from autoprune.review.text import trials_text
from autoprune.storages import open_storage, read_address, unusable
from autoprune.tasks import Data
from autoprune.utils.atomic_files import full_disk_errors
from autoprune.workflows.search_arguments import listener_of, objects_of, settings_of


def search(
    model: nn.Module | str | None = None,
    data: Data | Mapping[str, Any] | str | None = None,
    *,
    budget: str | Sequence[str] | Mapping[str, str | float] = (),
    trials: int | None = None,
    storage: str | Path | None = None,
    name: str | None = None,
    listener: review.Listener | None = None,
    callbacks: Sequence[review.Callback] = (),
    config: Config | None = None,
    **settings: Unpack[SettingsDict],
) -> Study:
    """Search the best trade-offs between quality and cost.

    Args:
        model: a trained module, or a text such as ``"torchvision:resnet18"`` (with ``weights=``).
        data: a mapping with ``train``, ``validation`` and ``test``, each a data loader, a data set or a pair
            of tensors ``[N, ...]``, and perhaps a ``task`` (see :mod:`autoprune.tasks.datasets.contract`);
            :class:`autoprune.Data`; or a text such as ``"fashion-mnist"``. A model needs data; the embedded
            digits are searched where neither is given.
        budget: texts such as ``"flops=50%"``, ``"latency=2ms"``, ``"time=30m"``, or a mapping such as
            ``{"latency": 0.5, "time": "30m"}``, where a fraction is a share of the original.
        trials: shorthand for ``"trials=N"``.
        storage: a file or an Optuna storage URL; the default is the file ``autoprune.db``.
        name: name of the study; a study of that name is continued: with the same limits on the model, and the
            time and trials given now, where earlier trials count.
        listener: is notified of what happens.
        callbacks: are called with the Optuna study and each trial when it has ended, as in Optuna; see
            :mod:`autoprune.loggers`. What one of them raises ends the search.
        config: settings that hold where no argument says otherwise. The budget given here replaces the
            limits on the same costs, and leaves the others.
        settings: any other field of :class:`autoprune.Config`.

    Returns:
        The study, with its front, its models and its reports.

    Raises:
        ArgumentError: for an argument of another type; it is a TypeError as well.
        UserError: when something given cannot work; a failing trial alone never ends a search.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> split = (torch.randn(64, 20), torch.arange(64) % 2)
        >>> study = autoprune.search(
        ...     nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...     {"train": split, "validation": split, "test": split},
        ...     budget={"flops": 0.8},
        ...     trials=2,
        ...     storage="search.db",
        ...     latency=False,
        ...     finetune_steps=1,
        ... )
        >>> study.model("best")[0].out_features < 8
        True
    """
    chosen = settings_of(model, data, budget, trials, storage, name, settings, config)
    module, splits = objects_of(model, data)
    return run_search(chosen, listener_of(listener, callbacks), model=module, data=splits)


def run_search(
    config: Config,
    listener: review.Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> Study:
    """Search with these settings, or continue the study that they name.

    Raises:
        UserError: when something given cannot work, or the storage fails.
        DiskError: when the disk is full; what has finished stays.
        TrialError: when candidates fail one after another.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if _has_workers(config):
        check_sharable(config, is_object={"model": model is not None, "data": data is not None})
    with full_disk_errors(), engine_ready(config):
        # A server that does not answer is reported before a model is trained. A file needs no such
        # question, and would be left behind by a search that never begins.
        server = _opened(config, listener) if read_address(config.storage).is_remote else None
        problem = prepare(config, listener, model=model, data=data)
        try:
            return _searched(problem, server or _opened(config, listener), listener)
        except (StorageInternalError, SQLAlchemyError) as error:
            raise unusable(read_address(config.storage), error) from None


def _has_workers(config: Config) -> bool:
    """Whether others search in the place of this process."""
    return config.workers > 1 or config.engine != "processes"


def _opened(config: Config, listener: review.Listener) -> BaseStorage:
    return open_storage(config.storage, must_exist=False, note=listener.note)


def _searched(problem: Problem, storage: BaseStorage, listener: review.Listener) -> Study:
    config = problem.config
    check_continues(problem, storage)
    problem = ensure_profile(problem, listener)
    study = create_study(problem, storage)
    problem = continue_on_device(problem, study, listener)
    if study.get_trials(deepcopy=False):
        ended = usage_of(problem.budget, study).trials
        there = f"{trials_text(ended)} {'is' if ended == 1 else 'are'} already there"
        listener.note(f"continues study {study.study_name!r}: {there if ended else 'no trial has ended yet'}")
    store = WeightStore.beside(config.storage, study.study_name)
    if problem.splits.note:
        listener.note(problem.splits.note)
    if _has_workers(config):
        run_workers(problem, study, store, listener)
    else:
        run(problem, study, store, listener)
    if problem.splits.holdout is not None:
        listener.phase("finalists", "ranked on samples that guided nothing")
        rank_finalists(problem, study, store, listener)
    listener.phase("final test", "the front, on the test split")
    test_front(problem, study, store, listener)
    listener.phase("review", "notes and pictures for the dashboard")
    review.publish(study, config.storage)
    return Study(study, problem)
