"""From settings to the model that is pruned: data, trained model, and its quality."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn

from autoprune.config.settings import Config
from autoprune.config.weights_file import read_weights_name
from autoprune.criteria import named_criterion
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.pruning_search.problem.subject.configured_model import build_model, model_spec, named_data
from autoprune.pruning_search.problem.subject.original import (
    check_trains,
    finite_quality,
    note_chance,
    note_unseen,
    original_score,
)
from autoprune.pruning_search.problem.subject.splits import ValidationSplits, divide
from autoprune.pruning_search.problem.subject.subject import ExtraQuality, OriginalQuality, SearchSubject
from autoprune.pruning_search.problem.subject.train import train_original, train_sparse
from autoprune.structure.graph.trace import shell
from autoprune.structure.wrappers import unwrapped
from autoprune.study.listener import Listener
from autoprune.tasks import Data, Task, evaluate, load_weights, weights_hash
from autoprune.tasks.cache import cache_trouble
from autoprune.tasks.data import LARGEST_ORDER, DatasetSplit, LoaderSplit, no_batch
from autoprune.tasks.datasets.augment import augmented
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.tasks.datasets.subset import scorable
from autoprune.tasks.devices import on_device
from autoprune.tasks.objective import Objective, objective_of


def load_subject(
    config: Config,
    device: torch.device,
    listener: Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> SearchSubject:
    """The model that is pruned with its data; `model` and `data` take the place of the configured ones.

    Raises:
        UserError: when model, weights and data do not go together.
    """
    listener.phase("baseline", str(named_data(config)) if data is None else data.name)
    if uncached := cache_trouble():
        listener.note(uncached)
    data = data or load_named_data(named_data(config), config.permit)
    quality = objective_of(config.references.metric, config.permit)
    data = replace(data, task=quality.task(data.task))
    objectives = _others(data.task, config)
    trained, name = (
        _load_configured(config, data, listener) if model is None else _load_given(model, config, listener)
    )
    trained = shell(on_device(trained, device)).eval()
    data = augmented(_scorable(data, config.seed, listener), config.augment)
    splits = divide(data, config)
    others = tuple(
        ExtraQuality(objective.task(data.task), objective.split(splits.selection, config.seed))
        for objective in objectives
    )
    if others and config.early_stopping:
        listener.note("with several qualities, every candidate is trained and scored in full")
    data, splits = _corrupt(data, splits, quality, config.seed)
    calibration = _calibration(data, config)
    baseline = _baseline(trained, data, splits, calibration, others, config, listener)
    example = data.example(1).to(device)
    listener.phase("structure", name)
    sparse = train_sparse(trained, example, data, config, listener)
    if sparse is not None:
        value = evaluate(sparse.model, splits.selection, data.task).value
        baseline = replace(baseline, sparsified=value)
    return SearchSubject(
        trained, name, weights_hash(trained), data, splits, example, calibration, baseline, others, sparse
    )


def _baseline(
    model: nn.Module,
    data: Data,
    splits: ValidationSplits,
    calibration: Sequence[tuple[Tensor, Tensor]],
    others: Sequence[ExtraQuality],
    config: Config,
    listener: Listener,
) -> OriginalQuality:
    """The original model's quality. Raises UserError where model, data and settings do not go together."""
    score = original_score(model, data, splits.selection, calibration)
    if calibration and recipe_of(config, data) is not None:
        check_trains(model, calibration[0], data.task)
    note_unseen(data, splits.selection, listener)
    note_chance(model, data, splits.selection, score, listener)
    values = {quality.task.metric: finite_quality(quality.task, quality.value(model)) for quality in others}
    return OriginalQuality(score, values)


def _others(task: Task, config: Config) -> list[Objective]:
    """The further qualities, each once. Raises UserError for one that cannot be read or is there already."""
    objectives = [objective_of(quality, config.permit) for quality in config.references.objective]
    names = [task.metric, *(objective.task(task).metric for objective in objectives)]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ConfigError(f"the objective {twice} is there already: give another one, or leave it out")
    return objectives


def _corrupt(
    data: Data, splits: ValidationSplits, quality: Objective, seed: int
) -> tuple[Data, ValidationSplits]:
    """Data whose validation and test samples are as the first quality sees them."""
    if quality.corruption is None:
        return data, splits
    holdout = None if splits.holdout is None else quality.split(splits.holdout, seed)
    noisy = replace(splits, selection=quality.split(splits.selection, seed), holdout=holdout)
    validation, test = (quality.split(split, seed) for split in (data.validation, data.test))
    return replace(data, validation=validation, test=test), noisy


def _load_configured(config: Config, data: Data, listener: Listener) -> tuple[nn.Module, str]:
    spec = model_spec(config)
    model = build_model(config, data)
    # A mistake in them is reported before anything is trained, and after the user's code could register one.
    for name in (config.references.criterion, *config.references.mix):
        named_criterion(name, config.permit)
    if config.weights is not None:
        load_weights(model, read_weights_name(config.weights), listener.note)
        return model, spec
    return train_original(model, spec, config, data, listener), spec


def _load_given(model: nn.Module, config: Config, listener: Listener) -> tuple[nn.Module, str]:
    """A model that is a Python object, with the configured weights, if any, in a copy of it."""
    model = unwrapped(model)
    if config.weights is not None:
        model = copy.deepcopy(model)
        load_weights(model, read_weights_name(config.weights), listener.note)
    return model, type(model).__name__


def _scorable(data: Data, seed: int, listener: Listener) -> Data:
    """The data with no more validation and test samples than can be scored; the listener gets its notes."""
    for note in data.notes:
        listener.note(note)
    if isinstance(data.train, DatasetSplit) and len(data.train) > LARGEST_ORDER:
        listener.note(f"train has {len(data.train):,} samples: they are drawn with replacement")
    validation, test = scorable(data.validation, seed), scorable(data.test, seed)
    for note in filter(None, (validation[1], test[1])):
        listener.note(note)
    return replace(data, validation=validation[0], test=test[0])


def _calibration(data: Data, config: Config) -> list[tuple[Tensor, Tensor]]:
    """A few training batches in a shuffled order, for data sets sorted by class.

    Raises DataError where there is none.
    """
    generator = torch.Generator().manual_seed(config.seed)
    batches = data.train.batches(config.batch_size, shuffle=generator)
    drawn = list(islice(batches, config.calibration_batches))
    if isinstance(data.train, LoaderSplit) and drawn:
        # A loader of the user's own may be used up: it is read again for every candidate.
        drawn = drawn if any(True for _ in data.train.batches(config.batch_size)) else []
    if config.calibration_batches and not drawn:
        raise no_batch("train")
    return drawn
