"""Tasks: the loss for recovery and the metric for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from autoprune.errors import DataError
from autoprune.tasks.metrics import IGNORED, Kind, as_binary, as_indices, measure, own, own_by_reference


@dataclass(frozen=True)
class Task:
    """A loss and a metric.

    Attributes:
        name: one of the kinds of :func:`task_by_name`, or a user's own.
        metric: name of the metric, as shown to the user.
        higher_is_better: direction of the metric.
        loss: ``(outputs, targets) -> scalar``, the mean over the batch.
        new_metric: makes a fresh torchmetrics object that takes ``(outputs, targets)``.
        classes: number of classes or labels, if any: the width of the model's output.
    """

    name: str
    metric: str
    higher_is_better: bool
    loss: Callable[[Tensor, Tensor], Tensor]
    new_metric: Callable[[], Metric]
    classes: int | None = None

    def measured_by(self, metric: str | Callable[[], Metric], *, name: str | None = None) -> Task:
        """The same task, judged by another metric.

        Args:
            metric: a name, ``package.module:Name`` or ``path/file.py:Name``, or what makes a
                :class:`torchmetrics.Metric`. See :func:`autoprune.tasks.metrics.measure`.
            name: of what makes one; default: its own.

        Raises:
            DataError: for a metric that does not go with the task.
        """
        if not isinstance(metric, str):
            found = own(metric, name or str(getattr(metric, "__name__", type(metric).__name__)))
        elif self.name in get_args(Kind):
            found = measure(self.name, metric, self.classes)  # type: ignore[arg-type]
        elif (mine := own_by_reference(metric)) is not None:
            found = mine
        else:
            raise DataError(f"the task {self.name!r} is your own: give its metric as path/file.py:Metric")
        return replace(
            self, metric=found.name, higher_is_better=found.higher_is_better, new_metric=found.make
        )


def classification(classes: int, metric: str = "accuracy") -> Task:
    """Single-label classification: outputs are logits ``[N, classes]``, targets are integers ``[N]``.

    Raises DataError when there are fewer than two classes, or for another metric than ``accuracy``,
    ``topK``, ``auroc``, ``f1`` and one's own.
    """
    if classes < 2:
        raise DataError(f"classification needs at least 2 classes, got {classes}: check the targets")
    return _task("classification", metric, class_loss, classes)


def binary(metric: str = "accuracy") -> Task:
    """Yes or no: outputs are logits ``[N]`` or ``[N, 1]``, targets 0 or 1 ``[N]``.

    Metrics are ``accuracy``, ``auroc``, ``f1`` and one's own; raises DataError for another one.
    """
    return _task("binary", metric, _binary_loss, None)


def multilabel(labels: int, metric: str = "accuracy") -> Task:
    """Yes or no for each label: outputs are logits ``[N, labels]``, targets 0 or 1 of the same shape.

    Metrics are ``accuracy``, ``auroc``, ``f1`` (means over the labels) and one's own; raises DataError for
    another one, or fewer than two labels.
    """
    if labels < 2:
        raise DataError(f"a multilabel task needs at least 2 labels, got {labels}: use 'binary' for one")
    return _task("multilabel", metric, _label_loss, labels)


def regression(metric: str = "mse") -> Task:
    """Regression: outputs and targets are floats of one shape; the loss is the squared error.

    Metrics are ``mse``, ``rmse``, ``mae``, ``r2`` and one's own; raises DataError for another one.
    """
    return _task("regression", metric, _number_loss, None)


def sequence(classes: int, metric: str = "perplexity") -> Task:
    """A class at each place: outputs are logits ``[N, length, classes]``, targets integers ``[N, length]``.

    A target of -100 is left out of loss and metric. Metrics are ``perplexity``, ``accuracy`` and one's own;
    raises DataError for another one, or fewer than two classes.
    """
    if classes < 2:
        raise DataError(f"a sequence needs at least 2 classes, got {classes}: check the targets")
    return _task("sequence", metric, _place_loss, classes)


def task_by_name(name: str, classes: int | None = None) -> Task:
    """The task called ``classification``, ``binary``, ``multilabel``, ``regression`` or ``sequence``.

    Args:
        name: of the task.
        classes: number of classes or labels, for those that have several.

    Raises:
        DataError: for another name, or when classes are missing.
    """
    if name in ("binary", "regression"):
        return binary() if name == "binary" else regression()
    makers = {"classification": classification, "multilabel": multilabel, "sequence": sequence}
    if name not in makers:
        raise DataError(f"unknown task {name!r}: use one of {', '.join(map(repr, get_args(Kind)))}")
    if classes is None:
        raise DataError(f"{name} needs the number of classes: give 'classes'")
    return makers[name](classes)


def _task(kind: Kind, metric: str, loss: Callable[[Tensor, Tensor], Tensor], classes: int | None) -> Task:
    found = measure(kind, metric, classes)
    return Task(kind, found.name, found.higher_is_better, loss, found.make, classes)


def class_loss(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of logits ``[N, classes]`` with class indices ``[N]`` of any integer type."""
    return functional.cross_entropy(outputs, as_indices(targets), label_smoothing=label_smoothing)


def _binary_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    flat = as_binary(outputs)
    return functional.binary_cross_entropy_with_logits(flat, targets.to(flat.dtype))


def _label_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))


def _number_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape:
        # PyTorch would pair each output with every target, with no more than a warning.
        raise ValueError("outputs and targets of a regression have one shape")
    return functional.mse_loss(outputs, targets.to(outputs.dtype))


def _place_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.movedim(-1, 1), as_indices(targets), ignore_index=IGNORED)
