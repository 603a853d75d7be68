"""Scoring a model on a split."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from autoprune.errors import DataError, ModelError, TrialError
from autoprune.stopping import check
from autoprune.tasks.data import Split
from autoprune.tasks.exhausted import is_out_of_memory
from autoprune.tasks.layout import fast_layout
from autoprune.tasks.noise import BLOCKS, Noise, bootstrap, counts_samples, wilson
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Score:
    """Quality of a model on a split: the task's metric, the mean loss, and the number of samples.

    Attributes:
        value: the metric.
        loss: the mean loss.
        samples: how many there were.
        blocks: the metric on blocks of the samples, where it is more than a share of them.
    """

    value: float
    loss: float
    samples: int
    blocks: tuple[float, ...] = ()

    def noise(self, task: Task) -> Noise | None:
        """Standard error and 95 % interval of the metric; None where it was made on too little."""
        if counts_samples(task):
            return wilson(self.value, self.samples)
        return bootstrap(self.value, self.blocks)


Enough = Callable[[Score], bool]
"""Says of the score so far whether the rest of the samples can be left out."""


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
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        shape = list(inputs.shape)
        raise DataError(f"the model cannot take inputs of shape {shape}: {_first_line(error)}") from error
    if not isinstance(outputs, Tensor):
        raise ModelError(f"the model returns {type(outputs).__name__}: wrap it to return one tensor")
    return outputs


def loss_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The task's mean loss of one batch. Raises DataError when outputs and targets do not fit."""
    with _fitting(outputs, targets):
        return task.loss(outputs, targets)


def evaluate(
    model: nn.Module, split: Split, task: Task, *, batch_size: int = 500, enough: Enough | None = None
) -> Score:
    """Score ``model`` on the samples of ``split`` in eval mode, without gradients.

    All of them, or with ``enough`` batch after batch until it says so.

    Raises TrialError when an output is not finite, and DataError when the data does not fit the model.
    """
    device = device_of(model)
    metric, block = task.new_metric().to(device), task.new_metric().to(device)
    size = 0 if counts_samples(task) else max(1, -(-len(split) // BLOCKS))
    loss, samples, blocks = 0.0, 0, []
    with training_mode(model, False), fast_layout(model) as settle, torch.inference_mode():
        for inputs, targets in split.batches(batch_size):
            check()
            inputs, targets = inputs.to(device), targets.to(device)
            settle(inputs)
            outputs = call(model, inputs)
            if not bool(torch.isfinite(outputs).all()):
                raise TrialError("the model's output is not finite: recover with a lower --lr or cut less")
            with _fitting(outputs, targets):
                loss += float(task.loss(outputs, targets)) * len(targets)
                metric.update(outputs, targets)
                blocks += _on_blocks(block, outputs, targets, size)
            samples += len(targets)
            if enough is not None and enough(_score(metric, loss, samples, blocks)):
                break
        if samples == 0:
            raise DataError("the split to evaluate yields no batch: give it at least one sample")
        return _score(metric, loss, samples, blocks)


def _score(metric: Metric, loss: float, samples: int, blocks: list[float]) -> Score:
    return Score(float(metric.compute()), loss / samples, samples, tuple(blocks))


def _together(outputs: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(outputs, size), torch.split(targets, size), strict=True)


def _on_blocks(metric: Metric, outputs: Tensor, targets: Tensor, size: int) -> list[float]:
    """The metric on consecutive blocks of a batch, ``size`` samples each; none for a size of 0.

    A last block that is less than half as long as the others says too little and is left out.
    """
    values: list[float] = []
    for some, wanted in _together(outputs, targets, size) if size else ():
        if values and 2 * len(wanted) < size:
            break
        metric.reset()
        metric.update(some, wanted)
        values.append(_small(metric))
    return values


def _small(metric: Metric) -> float:
    """The value on few samples; NaN for a metric that needs more, or samples of more than one kind."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return float(metric.compute())
    except (RuntimeError, ValueError):
        return math.nan


@contextmanager
def _fitting(outputs: Tensor, targets: Tensor) -> Iterator[None]:
    """Turn a shape, type or range complaint of a loss or metric into a DataError."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        shapes = f"outputs {list(outputs.shape)} do not fit targets {list(targets.shape)} {targets.dtype}"
        raise DataError(f"the model's {shapes}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
