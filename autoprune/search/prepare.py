"""From settings to a problem: data, trained model, structure, rankings, and the uncut model's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from autoprune.budget import parse_budget
from autoprune.config import Config
from autoprune.cost import CostModel, measure_latency
from autoprune.criteria import Context, Ranking, criterion, score_units
from autoprune.errors import ConfigError, ModelError
from autoprune.recovery import Recipe, steps_for_epochs, train_baseline
from autoprune.review import Listener
from autoprune.search.evaluate import calibration_batches
from autoprune.search.feasible import check_reachable
from autoprune.search.problem import Baseline, Problem
from autoprune.structure import Structure, discover
from autoprune.tasks import Data, evaluate, load_data, load_model, load_weights, weights_hash

ONE_SHOT = ("l2", "taylor")
"""Criteria whose global rankings are tried before any sampling, beside the configured one."""


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
}


def prepare(
    config: Config, listener: Listener, *, model: nn.Module | None = None, data: Data | None = None
) -> Problem:
    """Everything that a search needs; `model` and `data` take the place of the configured ones.

    Raises:
        UserError: when model, weights, data, criterion and budget do not go together.
    """
    budget = parse_budget(config.budget)
    if budget.limit("latency") and not config.latency:
        raise ConfigError("a latency budget needs latency to be measured: leave out --no-latency")
    listener.phase("baseline", config.data if data is None else data.name)
    data = data or load_data(config.data)
    trained, name = (model, type(model).__name__) if model is not None else _trained(config, data, listener)
    trained = trained.eval()
    score = evaluate(trained, data.validation, data.task)
    example = data.example(1)
    listener.phase("structure", name)
    structure = discover(trained, (example,))
    if not structure.groups:
        raise ModelError(f"nothing in {name} can be cut: {_why(structure)}")
    costs = CostModel.of(structure, trained)
    latency = None
    if config.latency:
        inputs = example.expand(config.latency_batch, *example.shape[1:]).contiguous()
        measured = measure_latency(
            trained, trained, (inputs,), threads=config.threads, max_seconds=config.latency_seconds
        )
        latency = measured.reference_seconds
    baseline = Baseline(score, costs.costs(structure.widths), latency)
    listener.phase("ranking", config.criterion)
    context = Context(
        trained, structure, partial(calibration_batches, data, config), data.task.loss, config.seed
    )
    problem = Problem(
        model=trained,
        name=name,
        weights=weights_hash(trained),
        structure=structure,
        costs=costs,
        data=data,
        example=example,
        baseline=baseline,
        rankings=_rankings(config, context),
        budget=budget,
        config=config,
    )
    check_reachable(problem)
    return problem


def model_spec(config: Config) -> str:
    """The configured model, or the one that goes with the data."""
    embedded = EMBEDDED.get(config.data.partition(":")[0])
    if config.model is None and embedded is None:
        raise ConfigError(f"the data {config.data!r} has no model of its own: give --model")
    return config.model or embedded.model  # type: ignore[union-attr]


def build_model(config: Config, data: Data) -> nn.Module:
    """The configured model with random weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return load_model(model_spec(config), classes=classes_of(data))


def classes_of(data: Data) -> int | None:
    """Number of classes of a classification task, else None."""
    return getattr(data.task.new_metric(), "num_classes", None)


def _trained(config: Config, data: Data, listener: Listener) -> tuple[nn.Module, str]:
    spec = model_spec(config)
    model = build_model(config, data)
    if config.weights is not None:
        load_weights(model, Path(config.weights))
        return model, spec
    recipe = _training(config, data, spec)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    key = repr((spec, data.name, recipe, config.seed, shapes))
    train_baseline(model, data, recipe, key=key, seed=config.seed, on_step=_reporter(listener, recipe.steps))
    return model, spec


def _training(config: Config, data: Data, spec: str) -> Recipe:
    """How to train a model that comes without weights: as configured, or as embedded with the data."""
    embedded = EMBEDDED.get(config.data.partition(":")[0])
    epochs, lr, batch_size = config.train_epochs, config.train_lr, config.train_batch_size
    if not epochs and embedded is not None and spec == embedded.model:
        epochs, lr, batch_size = embedded.epochs, embedded.lr, embedded.batch_size
    if not epochs:
        raise ConfigError(f"{spec} has no weights: give --weights FILE, or --train-epochs N to train it here")
    steps = steps_for_epochs(epochs, data.train, batch_size)
    return Recipe(steps=steps, lr=lr, batch_size=batch_size, schedule="onecycle")


def _reporter(listener: Listener, steps: int) -> Callable[[int, float], None]:
    def report(step: int, loss: float) -> None:
        if step % 10 == 0 or step == steps:
            listener.progress(step / steps, f"training, loss {loss:.3f}")

    return report


def _rankings(config: Config, context: Context) -> dict[str, Ranking]:
    """The configured criterion's ranking first; scores are computed once here for all candidates."""
    return {
        name: Ranking(name, score_units(criterion(name), context))
        for name in dict.fromkeys([config.criterion, *ONE_SHOT])
    }


def _why(structure: Structure) -> str:
    reasons = list(dict.fromkeys(structure.frozen.values()))
    return "; ".join(reasons[:2]) if reasons else "it has no convolution or linear layer"
