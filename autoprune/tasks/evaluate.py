"""Scoring a model on a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.errors import DataError, ModelError, TrialError
from autoprune.tasks.data import Split
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Score:
    """Quality of a model on a split: the task's metric, the mean loss, and the number of samples."""

    value: float
    loss: float
    samples: int


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's first parameter or buffer; the CPU when it has none."""
    tensors = (tensor for source in (model.parameters(), model.buffers()) for tensor in source)
    first = next(tensors, None)
    return first.device if first is not None else torch.device("cpu")


@contextmanager
def training_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Set the training flag of all modules for a while; every module gets its own flag back."""
    flags = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def call(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's output for one batch.

    Raises DataError when the model cannot take inputs of that shape, and ModelError when it returns
    something else than one tensor.
    """
    try:
        outputs = model(inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        shape = list(inputs.shape)
        raise DataError(f"the model cannot take inputs of shape {shape}: {_first_line(error)}") from error
    if not isinstance(outputs, Tensor):
        raise ModelError(f"the model returns {type(outputs).__name__}: wrap it to return one tensor")
    return outputs


def loss_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The task's mean loss of one batch. Raises DataError when outputs and targets do not fit."""
    with _fitting(outputs, targets):
        return task.loss(outputs, targets)


def evaluate(model: nn.Module, split: Split, task: Task, *, batch_size: int = 500) -> Score:
    """Score ``model`` on all samples of ``split`` in eval mode, without gradients.

    Raises TrialError when an output is not finite, and DataError when the data does not fit the model.
    """
    device = device_of(model)
    metric = task.new_metric().to(device)
    loss, samples = 0.0, 0
    with training_mode(model, False), torch.inference_mode():
        for inputs, targets in split.batches(batch_size):
            targets = targets.to(device)
            outputs = call(model, inputs.to(device))
            if not bool(torch.isfinite(outputs).all()):
                raise TrialError("the model's output is not finite: recover with a lower --lr or cut less")
            with _fitting(outputs, targets):
                loss += float(task.loss(outputs, targets)) * len(targets)
                metric.update(outputs, targets)
            samples += len(targets)
        if samples == 0:
            raise DataError("the split to evaluate yields no batch: give it at least one sample")
        value = float(metric.compute())
    return Score(value=value, loss=loss / samples, samples=samples)


@contextmanager
def _fitting(outputs: Tensor, targets: Tensor) -> Iterator[None]:
    """Turn a shape, type or range complaint of a loss or metric into a DataError."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        shapes = f"outputs {list(outputs.shape)} do not fit targets {list(targets.shape)} {targets.dtype}"
        raise DataError(f"the model's {shapes}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
