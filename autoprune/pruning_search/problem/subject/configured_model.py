"""The model and the data that the settings name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from autoprune.config.references import DataSet, Model, Named, parse_model
from autoprune.config.settings import Config
from autoprune.errors import ConfigError
from autoprune.tasks import Data
from autoprune.tasks.models import build_named_model


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
