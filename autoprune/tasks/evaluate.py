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

from autoprune.errors import AutopruneError, DataError, ModelError, TrialError
from autoprune.tasks.data import Split, no_batch
from autoprune.tasks.import_reference import summary
from autoprune.tasks.layout import fast_layout
from autoprune.tasks.noise import BLOCKS, Noise, bootstrap, counts_samples, wilson
from autoprune.tasks.out_of_memory import is_out_of_memory
from autoprune.tasks.reading import place
from autoprune.tasks.task import Task
from autoprune.utils.signals import check


@dataclass(frozen=True)
class Score:
    """Quality of a model on a split: the task's metric, the mean loss, and the number of samples.

    Attributes:
        value: the metric.
        loss: the mean loss.
        samples: number of samples.
        blocks: the metric on blocks of the samples, unless it is a share of them.
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
"""Decides from the score so far whether the remaining samples can be skipped."""


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's first parameter or buffer; the CPU when it has none."""
    tensors = (tensor for source in (model.parameters(), model.buffers()) for tensor in source)
    first = next(tensors, None)
    return first.device if first is not None else torch.device("cpu")


@contextmanager
def training_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Temporarily set the training flag of all modules, and restore each module's own flag."""
    flags = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def fixed_chance(device: torch.device, seed: int = 0) -> Iterator[None]:
    """Make draws from PyTorch's generators reproducible in the block, and restore their state afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def call(model: nn.Module, inputs: Tensor) -> Tensor:
    """The model's output for a copy of one batch, because a forward may modify its inputs.

    Raises DataError if the model cannot take such inputs, and ModelError if it returns anything other than
    one tensor.
    """
    try:
        outputs = model(inputs.clone())
    except AutopruneError:
        raise
    except Exception as error:  # a user's forward may raise anything
        if is_out_of_memory(error):
            raise
        raise DataError(
            f"the model cannot take inputs of shape {list(inputs.shape)}: {_why_not(model, inputs, error)}"
        ) from error
    if not isinstance(outputs, Tensor):
        raise ModelError(f"the model returns {type(outputs).__name__}: wrap it to return one tensor")
    return outputs


def loss_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The task's mean loss of one batch. Raises DataError when outputs and targets do not fit."""
    with _fitting(outputs, targets, task):
        return task.loss(outputs, targets)


def evaluate(
    model: nn.Module,
    split: Split,
    task: Task,
    *,
    batch_size: int = 500,
    enough: Enough | None = None,
    seed: int = 0,
) -> Score:
    """Score ``model`` on the samples of ``split`` in eval mode, without gradients.

    With ``enough``, only until it returns true.

    A model or data set that draws from PyTorch's generators draws the same values for the same `seed`.

    Raises TrialError if an output is not finite, and DataError if this is due to the samples, or if they do
    not fit the model.
    """
    device = device_of(model)
    name = getattr(split, "name", "")
    metric, block = task.new_metric().to(device), task.new_metric().to(device)
    size = 0 if counts_samples(task) else max(1, -(-len(split) // BLOCKS))
    loss, samples, blocks = 0.0, 0, []
    with (
        training_mode(model, False),
        fast_layout(model) as settle,
        torch.inference_mode(),
        fixed_chance(device, seed),
    ):
        for inputs, targets in split.batches(batch_size):
            check()
            inputs, targets = inputs.to(device), targets.to(device)
            settle(inputs)
            outputs = call(model, inputs)
            if not bool(torch.isfinite(outputs).all()):
                check_finite(inputs, targets, name)
                raise TrialError("the model's output is not finite: recover with a lower --lr or cut less")
            with _fitting(outputs, targets, task, name):
                loss += float(task.loss(outputs, targets)) * len(targets)
                metric.update(outputs, targets)
                blocks += _on_blocks(block, outputs, targets, size)
            samples += len(targets)
            if enough is not None and enough(_score(task, metric, loss, samples, blocks)):
                break
        if samples == 0:
            raise no_batch(name)
        return _score(task, metric, loss, samples, blocks)


def check_finite(inputs: Tensor, targets: Tensor, name: str, first: int | None = None) -> None:
    """Raise DataError for inputs or targets that hold NaN or infinity.

    Args:
        inputs: of a batch.
        targets: of the same.
        name: of the split.
        first: position in it of the batch's first sample, where that is known.
    """
    for what, values in (("inputs", inputs), ("targets", targets)):
        row = first_not_finite(values)
        if row is not None:
            wrong = values[row][~torch.isfinite(values[row])].reshape(-1)[0].item()
            where = place(name, "" if first is None else f"sample {first + row}")
            raise DataError(
                f"the {what} hold {wrong:g}{f' ({where})' if where else ''}, of which the model makes no "
                "finite number: clean the data, or leave such samples out"
            )


def first_not_finite(values: Tensor) -> int | None:
    """Position of the first sample with a NaN or an infinity in it."""
    if not (values.is_floating_point() or values.is_complex()):
        return None
    rows = (~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()
    return int(rows[0]) if len(rows) else None


def _score(task: Task, metric: Metric, loss: float, samples: int, blocks: list[float]) -> Score:
    try:
        value = float(metric.compute())
    except Exception as error:  # a user's metric may raise anything
        if is_out_of_memory(error):
            raise
        raise DataError(
            f"the metric {task.metric} of {samples} sample(s) failed: {summary(error)}"
        ) from error
    return Score(value, loss / samples, samples, tuple(blocks))


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
    except Exception:  # a user's metric may raise anything, and few samples are no reason to fail
        return math.nan


@contextmanager
def _fitting(outputs: Tensor, targets: Tensor, task: Task, where: str = "") -> Iterator[None]:
    """Convert an error of a loss or a metric to a DataError."""
    try:
        yield
    except AutopruneError:
        raise
    except Exception as error:  # a user's loss or metric may raise anything
        if is_out_of_memory(error):
            raise
        why = misfit(task, outputs, targets) or _first_line(error)
        shapes = f"outputs {list(outputs.shape)} do not fit targets {list(targets.shape)} {targets.dtype}"
        at = f" ({where})" if where else ""
        raise DataError(f"the model's {shapes}{at}: {why}") from error


def misfit(task: Task, outputs: Tensor, targets: Tensor) -> str:
    """Why outputs and targets of a batch do not match, if that is evident; else empty."""
    classes = task.classes
    if task.name == "classification" and outputs.ndim == 2 and classes is not None:
        if outputs.shape[1] != classes:
            return (
                f"the model has {outputs.shape[1]} classes and the data {classes} (one more than the largest "
                "training target, unless 'classes' says so): correct the targets, or set 'classes'"
            )
        if targets.ndim == 1 and not targets.is_floating_point():
            wrong = ((targets < 0) | (targets >= classes)).nonzero().reshape(-1)
            if len(wrong):
                row = int(wrong[0])
                index = int(targets[row])
                advice = "leave such samples out" if index < 0 else "correct it, or set 'classes'"
                return f"target {index} (place {row} of a batch) is no class of 0 to {classes - 1}: {advice}"
    if outputs.shape != targets.shape and task.name in ("multilabel", "regression"):
        return f"a {task.name} task needs one shape"
    return ""


def _why_not(model: nn.Module, inputs: Tensor, error: Exception) -> str:
    """What a forward complained of; where that is a type of numbers, with both of them."""
    text = _first_line(error)
    if "more than 1 value per channel" in text:
        return f"BatchNorm cannot train on one sample, give larger batches ({text})"
    first = next(model.parameters(), None)
    if first is not None and inputs.dtype != first.dtype and "type" in text:
        kinds = f"inputs are {inputs.dtype} and its weights {first.dtype}: convert one of them"
        return f"{text} ({kinds.replace('torch.', '')})"
    if model.training and _takes(model, inputs):
        return f"{text} (it takes them in eval mode, so make its forward work in training mode)"
    if len(inputs) > 1 and _takes(model, inputs[:1]):
        return f"{text} (it takes one sample, so make its forward work for {len(inputs)} at a time)"
    return text


def _takes(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the model takes these inputs in eval mode."""
    try:
        with training_mode(model, False), torch.no_grad():
            model(inputs.clone())
    except Exception:  # a user's forward may raise anything
        return False
    return True


def _first_line(error: Exception) -> str:
    if isinstance(error, RuntimeError | ValueError | IndexError) and str(error).strip():
        return str(error).strip().splitlines()[0]
    return summary(error)
