"""Training of a model that comes without weights, and sparse training of one before it is pruned."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from autoprune.config.granularity import UNITS
from autoprune.config.settings import Config
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.pruning_search.problem.subject.configured_model import embedded_of
from autoprune.pruning_search.problem.subject.original import check_in_memory
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.recovery import Recipe, steps_for_epochs, train_baseline
from autoprune.recovery.sparse_training import Sparsified, sparsify
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.tasks.datasets.fingerprint import data_hash
from autoprune.tasks.devices import device_named, on_device


def train_original(model: nn.Module, spec: str, config: Config, data: Data, listener: Listener) -> nn.Module:
    """The model, trained on the configured device. Raises ConfigError where no epochs are given."""
    recipe = _training(config, data, spec)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    source = (data.name, data.source, data_hash(data))
    key = repr((spec, source, recipe.choices, config.seed, shapes))
    model = on_device(model, device_named(config.device))
    check_in_memory(model, data)
    train_baseline(model, data, recipe, key=key, seed=config.seed, on_step=_reporter(listener, recipe.steps))
    return model


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


def train_sparse(
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
    sparse = sparsify(
        trained,
        structure,
        data,
        recipe,
        config.sparsify,
        seed=config.seed,
        strength=config.sparsify_strength,
        on_step=_reporter(listener, steps),
    )
    if sparse.without:
        listener.note(
            f"{config.sparsify} says nothing of {sparse.without[0]} "
            + (f"and {len(sparse.without) - 1} more groups" if len(sparse.without) > 1 else "")
            + ": there, norms of the trained weights rank units"
        )
    return sparse


def _reporter(listener: Listener, steps: int) -> Callable[[int, float], None]:
    def report(step: int, loss: float) -> None:
        if step % 10 == 0 or step == steps:
            listener.progress(step / steps, f"training, loss {loss:.3f}")

    return report
