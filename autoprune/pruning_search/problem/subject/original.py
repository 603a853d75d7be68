"""The original model on the user's data: whether they go together, before anything is made or written."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from autoprune.errors import DataError, ModelError, TrialError, UserError
from autoprune.study.listener import Listener
from autoprune.tasks import Data, Score, Split, Task, device_of, evaluate, training_mode
from autoprune.tasks.data import DatasetSplit, LoaderSplit, TensorSplit, no_batch
from autoprune.tasks.datasets.subset import classes, in_order
from autoprune.tasks.evaluate import call, check_finite, first_not_finite, fixed_chance, loss_of
from autoprune.tasks.import_reference import summary
from autoprune.tasks.metrics import IGNORED
from autoprune.tasks.out_of_memory import is_out_of_memory
from autoprune.tasks.reading import place

BATCH = 500
"""Samples that are looked at together."""
PROBE = 64
"""Samples of which two readings are compared."""
ALIKE = 1e-3
"""Relative difference of outputs up to which two passes are the same: threads add in another order."""


def original_score(
    model: nn.Module, data: Data, selection: Split, calibration: Sequence[tuple[Tensor, Tensor]]
) -> Score:
    """Score of the original on the selection split.

    All samples in memory are looked at before, and some of the others: class indices that are none, and NaN
    or infinity that the model does not cope with. Of test data, which is read when the search ends, it is a
    batch.

    Raises:
        DataError: that names the split and the sample, or a metric that is not finite.
        ModelError: for weights or outputs that are not finite though the samples are.
    """
    check_in_memory(model, data)
    if not isinstance(data.test, TensorSplit):
        _check_first(model, data.test, data.task, "test")
    for inputs, targets in calibration:
        _check_batch(model, inputs, targets, data.task, "train", None)
    try:
        score = evaluate(model, selection, data.task)
    except (DataError, TrialError) as error:
        # The selection split is in an order of their own: the user's is where the sample is named.
        if not isinstance(data.validation, TensorSplit):
            check_samples(model, data.validation, data.task, "validation")
        if isinstance(error, DataError):
            raise
        raise _not_finite(model) from error
    finite_quality(data.task, score.value)
    if not math.isfinite(score.loss):
        raise DataError(
            f"the loss of the original is {score.loss:g} (validation): check its outputs and the data"
        )
    return score


def check_in_memory(model: nn.Module, data: Data) -> None:
    """Raise DataError that names the first sample in memory which the model or the task cannot take."""
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        if isinstance(split, TensorSplit):
            check_samples(model, split, data.task, name)


def check_trains(model: nn.Module, batch: tuple[Tensor, Tensor], task: Task) -> None:
    """Raise UserError where a copy of the original cannot take the first half of a step of training."""
    device = device_of(model)
    try:
        copied = copy.deepcopy(model)
        trained = [parameter.requires_grad for parameter in copied.parameters()]
        if not trained:
            return  # The structure says that nothing can be cut.
        if not any(trained):
            raise ModelError("no parameter of the model requires a gradient (model.requires_grad_() helps)")
        with training_mode(copied, True), torch.enable_grad(), fixed_chance(device):
            loss = loss_of(task, call(copied, batch[0].to(device)), batch[1].to(device))
            torch.autograd.backward(loss)
    except UserError as error:
        raise type(error)(f"fine-tuning cannot work: {error}; or set finetune_steps to 0") from error
    except Exception as error:
        # Where memory is short, batches are split later.
        if not is_out_of_memory(error):
            raise ModelError(
                f"fine-tuning cannot work: no gradient passes the model: {summary(error)}; or set "
                "finetune_steps to 0"
            ) from error


def finite_quality(task: Task, value: float) -> float:
    """The original's quality. Raises DataError for one that is not finite: no candidate compares with it."""
    if math.isfinite(value):
        return value
    metric = task.metric.partition("@")[0]
    why = {
        "auroc": "it takes samples with and without a class: give validation samples of at least two classes",
        "r2": "it takes targets that differ: give more validation samples",
    }
    raise DataError(
        f"the metric {task.metric} of the original is {value:g} on the validation samples: "
        + why.get(metric, "check it on these samples, or choose another metric")
    )


def check_samples(model: nn.Module, split: Split, task: Task, name: str) -> None:
    """Raise DataError that names the first sample of a split which the model or the task cannot take."""
    first = _first_position(split)
    for inputs, targets in split.batches(BATCH):
        _check_batch(model, inputs, targets, task, name, first)
        first = None if first is None else first + len(inputs)


def _check_first(model: nn.Module, split: Split, task: Task, name: str) -> None:
    """Raise DataError for a first batch that the model or the task cannot take, or that comes only once."""
    with fixed_chance(torch.device("cpu")):
        readings = [list(islice(split.batches(BATCH), 1)) for _ in range(1 + isinstance(split, LoaderSplit))]
    if not all(readings):
        raise no_batch(name)
    ((inputs, targets),) = readings[0]
    _check_batch(model, inputs, targets, task, name, _first_position(split))


def _first_position(split: Split) -> int | None:
    """Position of the first sample that it yields; None where the order is its own."""
    return None if isinstance(split, LoaderSplit) and not in_order(split.loader) else 0


def _check_batch(
    model: nn.Module, inputs: Tensor, targets: Tensor, task: Task, name: str, first: int | None
) -> None:
    _check_indices(model, inputs, targets, task, name, first)
    wrong = [row for row in map(first_not_finite, (inputs, targets)) if row is not None]
    for row in wrong:
        some = slice(row, row + 1)
        # A model may well cope with it: what counts is what it makes of the sample.
        with training_mode(model, False), torch.no_grad(), fixed_chance(device_of(model)):
            outputs = call(model, inputs[some].to(device_of(model)))
            loss = loss_of(task, outputs, targets[some].to(device_of(model)))
        if not (bool(torch.isfinite(outputs).all()) and bool(torch.isfinite(loss).all())):
            check_finite(inputs, targets, name, first)


def _check_indices(
    model: nn.Module, inputs: Tensor, targets: Tensor, task: Task, name: str, first: int | None
) -> None:
    """Raise DataError for a class index that is below 0 or beyond the model's classes."""
    if task.name not in ("classification", "sequence") or targets.is_floating_point() or task.classes is None:
        return
    with training_mode(model, False), torch.no_grad(), fixed_chance(device_of(model)):
        own_classes = call(model, inputs[:1].to(device_of(model))).shape[-1]
    most = min(task.classes, own_classes)
    wrong = (targets < 0) | (targets >= most)
    if task.name == "sequence":
        wrong &= targets != IGNORED
    rows = wrong.reshape(len(targets), -1).any(1).nonzero()
    if not len(rows):
        return
    row = int(rows[0])
    index = int(targets[row][wrong[row]].reshape(-1)[0])
    where = place(name, "" if first is None else f"sample {first + row}")
    where = f" ({where})" if where else ""
    if index < 0:
        raise DataError(f"a target is {index}{where}, but classes count from 0: leave such samples out")
    whose = "the model's classes are" if own_classes <= task.classes else "the classes are"
    more = "give a model of more classes" if own_classes <= task.classes else "set 'classes'"
    raise DataError(f"a target is {index}{where}, but {whose} 0 to {most - 1}: correct it, or {more}")


def _not_finite(model: nn.Module) -> ModelError:
    """Why the outputs of the original are not finite though all samples are."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            wrong = tensor[~torch.isfinite(tensor)].reshape(-1)[0].item()
            return ModelError(
                f"the original's output is not finite: its {name} holds {wrong:g}: give a sound checkpoint"
            )
    return ModelError(
        "the original's output is not finite on the validation samples, though they and its weights are: "
        "check its forward, and that inputs are scaled as in training"
    )


def note_unseen(data: Data, selection: Split, listener: Listener) -> None:
    """Tell the listener which classes AUROC leaves out, for want of samples."""
    targets = classes(selection)
    if data.task.metric.partition("@")[0] != "auroc" or targets is None or data.task.classes is None:
        return
    unseen = sorted(set(range(data.task.classes)) - set(targets.tolist()))
    if unseen:
        few = ", ".join(map(str, unseen[:5])) + (" ..." if len(unseen) > 5 else "")
        listener.note(f"validation has no samples of {len(unseen)} class(es) ({few}): auroc leaves them out")


def note_chance(model: nn.Module, data: Data, selection: Split, score: Score, listener: Listener) -> None:
    """Tell the listener where two passes of the original over the same samples, or two readings, differ."""
    if _changes(data.validation):
        listener.note(
            "validation samples change each time they are read: "
            + ("one reading of them is kept" if isinstance(selection, TensorSplit) else "so do all qualities")
        )
    inputs = next((inputs for inputs, _ in selection.batches(BATCH)), None)
    if inputs is None or _alike(*(_outputs(model, inputs, seed) for seed in (0, 1))):
        return
    again = evaluate(model, selection, data.task, seed=1)
    listener.note(
        f"two passes of the original over the same validation samples give {data.task.metric} "
        f"{score.value:.4g} and {again.value:.4g}, loss {score.loss:.4g} and {again.loss:.4g}: its forward "
        "is random or keeps a state in evaluation, so that smaller differences of candidates mean nothing"
    )


def _outputs(model: nn.Module, inputs: Tensor, seed: int) -> Tensor:
    device = device_of(model)
    with training_mode(model, False), torch.inference_mode(), fixed_chance(device, seed):
        return call(model, inputs.to(device))


def _changes(split: Split) -> bool:
    """Whether two readings of the first samples differ, where they come in an order."""
    if not isinstance(split, DatasetSplit) and not (
        isinstance(split, LoaderSplit) and in_order(split.loader)
    ):
        return False
    readings = []
    for seed in (0, 1):
        with fixed_chance(torch.device("cpu"), seed):
            readings += [inputs[:PROBE] for inputs, _ in islice(split.batches(PROBE), 1)]
    return len(readings) == 2 and not _alike(*readings)


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.allclose(one.double(), other.double(), rtol=ALIKE, atol=1e-6, equal_nan=True)
