"""From settings to a problem: data, trained model, structure, rankings, and the original model's numbers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from autoprune.config.budget import Budget, parse_budget
from autoprune.config.granularity import UNITS
from autoprune.config.references import DataSet, Model, Named, parse_model
from autoprune.config.settings import Config
from autoprune.config.weights_file import read_weights_name
from autoprune.cost import Meter
from autoprune.criteria import named_criterion
from autoprune.errors import ConfigError, CriterionWarning
from autoprune.pruning_search.problem.budget_fit import check_reachable
from autoprune.pruning_search.problem.latency import known_profile, offered_widths, setting_of, timed_batch
from autoprune.pruning_search.problem.mask_pruning import masking
from autoprune.pruning_search.problem.original import (
    check_in_memory,
    check_trains,
    finite_quality,
    note_chance,
    note_unseen,
    original_score,
)
from autoprune.pruning_search.problem.problem import Baseline, Judge, Problem
from autoprune.pruning_search.problem.pruning import Origin, Pruning
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.pruning_search.problem.splits import Parts, divide
from autoprune.pruning_search.problem.unit_pruning import discover_for, removal
from autoprune.recovery import Recipe, steps_for_epochs, train_baseline
from autoprune.recovery.sparse_training import Sparsified, sparsify
from autoprune.structure.graph.trace import shell
from autoprune.structure.wrappers import unwrapped
from autoprune.study.listener import Listener
from autoprune.tasks import Data, Task, evaluate, load_weights, weights_hash
from autoprune.tasks.cache import cache_trouble
from autoprune.tasks.data import LARGEST_ORDER, DatasetSplit, LoaderSplit, no_batch
from autoprune.tasks.datasets.augment import augmented
from autoprune.tasks.datasets.fingerprint import data_hash
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.tasks.datasets.subset import scorable
from autoprune.tasks.devices import device_named, on_device
from autoprune.tasks.models import build_named_model
from autoprune.tasks.objective import Objective, objective_of


@dataclass(frozen=True)
class Embedded:
    """The model that goes with a data set by name, and how it is trained when there are no weights."""

    model: str
    epochs: int = 0
    lr: float = 0.1
    batch_size: int = 64


EMBEDDED = {
    "digits": Embedded("autoprune.tasks.zoo:digits_resnet", epochs=30),
    "mnist": Embedded("autoprune.tasks.zoo:resnet20"),
    "fashion-mnist": Embedded("autoprune.tasks.zoo:resnet20"),
    "language-id": Embedded("autoprune.tasks.zoo:letter_lstm", epochs=6, lr=0.5),
}


def prepare(
    config: Config,
    listener: Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
    original_seconds: float | None = None,
) -> Problem:
    """Everything that a search needs; `model` and `data` take the place of the configured ones.

    With `original_seconds`, the original model's latency, nothing is timed.

    Raises:
        UserError: when model, weights, data, criterion and budget do not go together.
    """
    budget, device = parse_budget(config.budget), device_named(config.device)
    _check_limits(budget, config)
    # Masks leave latency as it is.
    timed = config.latency and config.granularity == UNITS and original_seconds is None
    setting = setting_of(config) if timed else None
    listener.phase("baseline", str(named_data(config)) if data is None else data.name)
    if uncached := cache_trouble():
        listener.note(uncached)
    data = data or load_named_data(named_data(config), config.permit)
    quality = objective_of(config.references.metric, config.permit)
    data = replace(data, task=quality.task(data.task))
    watched = _others(data.task, config)
    trained, name = _trained(config, data, listener) if model is None else _given(model, config, listener)
    trained = shell(on_device(trained, device)).eval()
    data = augmented(_scorable(data, config.seed, listener), config.augment)
    parts = divide(data, config)
    others = tuple(
        Judge(objective.task(data.task), objective.split(parts.guiding, config.seed)) for objective in watched
    )
    if others and config.early_stopping:
        listener.note("with several qualities, every candidate is trained and scored in full")
    data, parts = _noisy(data, parts, quality, config.seed)
    calibration = _calibration(data, config)
    score = original_score(trained, data, parts.guiding, calibration)
    if calibration and recipe_of(config, data) is not None:
        check_trains(trained, calibration[0], data.task)
    note_unseen(data, parts.guiding, listener)
    note_chance(trained, data, parts.guiding, score, listener)
    beside = {judge.task.metric: finite_quality(judge.task, judge.value(trained)) for judge in others}
    example = data.example(1).to(device)
    listener.phase("structure", name)
    sparse = _sparsified(trained, example, data, config, listener)
    base = trained if sparse is None else sparse.model
    origin = Origin(base, name, weights_hash(base), example, calibration, data.task.loss, config, sparse)
    pruning = pruning_of(origin, listener)
    meter = None
    if setting is not None:
        batch = timed_batch(config, example)
        meter = Meter(trained, batch, setting, max_seconds=config.latency_seconds)
    latency = original_seconds if meter is None else meter.reference_seconds()
    profile = None if meter is None else known_profile(meter, pruning)
    problem = Problem(
        model=trained,
        name=name,
        weights=origin.weights if sparse is None else weights_hash(trained),
        pruning=pruning,
        data=data,
        parts=parts,
        example=example,
        baseline=Baseline(
            score,
            pruning.costs.original(trained),
            latency,
            beside,
            None if sparse is None else evaluate(base, parts.guiding, data.task).value,
        ),
        calibration=calibration,
        budget=budget,
        config=config,
        meter=meter,
        profile=profile,
        latency_steps=offered_widths(pruning, profile),
        others=others,
    )
    check_reachable(problem)
    return problem


def _sparsified(
    trained: nn.Module, example: Tensor, data: Data, config: Config, listener: Listener
) -> Sparsified | None:
    """The model after sparse training, where the settings want that. Raises ConfigError for masks."""
    if config.sparsify is None:
        return None
    if config.granularity != UNITS:
        raise ConfigError(
            "sparse training is for units, not for masks: leave --sparsify or --granularity out"
        )
    structure = discover_for(config, trained, (example,))
    steps = steps_for_epochs(config.sparsify_epochs, data.train, config.batch_size)
    recipe = recipe_of(config, data, steps)
    assert recipe is not None
    listener.phase("sparse training", f"{config.sparsify}, {config.sparsify_epochs} epochs")
    found = sparsify(
        trained,
        structure,
        data,
        recipe,
        config.sparsify,
        seed=config.seed,
        strength=config.sparsify_strength,
        on_step=_reporter(listener, steps),
    )
    if found.without:
        listener.note(
            f"{config.sparsify} says nothing of {found.without[0]} "
            + (f"and {len(found.without) - 1} more groups" if len(found.without) > 1 else "")
            + ": there, norms of the trained weights rank units"
        )
    return found


def _others(task: Task, config: Config) -> list[Objective]:
    """The further qualities, each once. Raises UserError for one that cannot be read or is there already."""
    objectives = [objective_of(quality, config.permit) for quality in config.references.objective]
    names = [task.metric, *(objective.task(task).metric for objective in objectives)]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ConfigError(f"the objective {twice} is there already: give another one, or leave it out")
    return objectives


def _noisy(data: Data, parts: Parts, quality: Objective, seed: int) -> tuple[Data, Parts]:
    """Data whose validation and test samples are as the first quality sees them."""
    if quality.corruption is None:
        return data, parts
    ranking = None if parts.ranking is None else quality.split(parts.ranking, seed)
    noisy = replace(parts, guiding=quality.split(parts.guiding, seed), ranking=ranking)
    validation, test = (quality.split(split, seed) for split in (data.validation, data.test))
    return replace(data, validation=validation, test=test), noisy


def pruning_of(origin: Origin, listener: Listener) -> Pruning:
    """The configured way to prune a model; the listener is told where a criterion says nothing.

    Raises UserError when it does not fit the model.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CriterionWarning)
        pruning = removal(origin) if origin.config.granularity == UNITS else masking(origin)
    for warning in caught:
        if issubclass(warning.category, CriterionWarning):
            listener.note(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return pruning


def _check_limits(budget: Budget, config: Config) -> None:
    """Raise ConfigError for a limit on what this way to prune does not change or measure."""
    if config.granularity == UNITS:
        if budget.limit("nonzero"):
            raise ConfigError("a nonzero budget is for masks: give --granularity weights, or params=20%")
        if budget.limit("latency") and not config.latency:
            raise ConfigError("a latency budget needs latency to be measured: leave out --no-latency")
        return
    fixed = next((what for what in ("flops", "params", "latency") if budget.limit(what)), None)
    if fixed is not None:
        raise ConfigError(
            f"masks leave {fixed} as it is, for tensors keep their shapes: give nonzero=20% or size=30%"
        )


def named_data(config: Config) -> DataSet:
    """The configured data. Raises ConfigError for a model without data."""
    reference = config.references.data
    if reference is None:
        raise ConfigError(
            f"no data for {config.model or 'the model'}: give --data, such as imagefolder:photos or "
            "path/file.py:factory (data= in Python)"
        )
    return reference


def embedded_of(config: Config) -> Embedded | None:
    """What goes with the configured data, where that is one by name."""
    data = config.references.data
    return EMBEDDED.get(data.name) if isinstance(data, Named) else None


def named_model(config: Config) -> Model:
    """The configured model, or the one that goes with the data."""
    embedded, configured = embedded_of(config), config.references.model
    if configured is not None:
        return configured
    if config.data is None:
        raise ConfigError("no model for the data: give the one that they are for, too")
    if embedded is None:
        raise ConfigError(f"the data {config.data!r} has no model of its own: give --model")
    return parse_model(embedded.model)


def model_spec(config: Config) -> str:
    """The text of :func:`named_model`."""
    return str(named_model(config))


def build_model(config: Config, data: Data | None) -> nn.Module:
    """The configured model for the classes of the data, with random weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        classes = None if data is None else classes_of(data)
        return build_named_model(named_model(config), config.permit, classes=classes)


def classes_of(data: Data) -> int | None:
    """Number of classes or labels of the task, None where there are none."""
    return data.task.classes or getattr(data.task.new_metric(), "num_classes", None)


def _trained(config: Config, data: Data, listener: Listener) -> tuple[nn.Module, str]:
    spec = model_spec(config)
    model = build_model(config, data)
    # A mistake in them is told before anything is trained, and after the user's code could register one.
    for name in (config.references.criterion, *config.references.mix):
        named_criterion(name, config.permit)
    if config.weights is not None:
        load_weights(model, read_weights_name(config.weights), listener.note)
        return model, spec
    recipe = _training(config, data, spec)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    known = (data.name, data.source, data_hash(data))
    key = repr((spec, known, recipe.choices, config.seed, shapes))
    model = on_device(model, device_named(config.device))
    check_in_memory(model, data)
    train_baseline(model, data, recipe, key=key, seed=config.seed, on_step=_reporter(listener, recipe.steps))
    return model, spec


def _given(model: nn.Module, config: Config, listener: Listener) -> tuple[nn.Module, str]:
    """A model that is a Python object, with the configured weights, if any, in a copy of it."""
    model = unwrapped(model)
    if config.weights is not None:
        model = copy.deepcopy(model)
        load_weights(model, read_weights_name(config.weights), listener.note)
    return model, type(model).__name__


def _training(config: Config, data: Data, spec: str) -> Recipe:
    """How to train a model that comes without weights: as configured, or as embedded with the data."""
    embedded = embedded_of(config)
    epochs, lr, batch_size = config.train_epochs, config.train_lr, config.train_batch_size
    if not epochs and embedded is not None and spec == embedded.model:
        epochs, lr, batch_size = embedded.epochs, embedded.lr, embedded.batch_size
    if not epochs:
        raise ConfigError(f"{spec} has no weights: give --weights FILE, or --train-epochs N to train it here")
    steps = steps_for_epochs(epochs, data.train, batch_size)
    return Recipe(steps=steps, lr=lr, batch_size=batch_size, schedule="onecycle", precision=config.precision)


def _reporter(listener: Listener, steps: int) -> Callable[[int, float], None]:
    def report(step: int, loss: float) -> None:
        if step % 10 == 0 or step == steps:
            listener.progress(step / steps, f"training, loss {loss:.3f}")

    return report


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
