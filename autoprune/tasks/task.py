"""What a model is asked to do: the loss it is healed with and the metric it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

from autoprune.errors import DataError


@dataclass(frozen=True)
class Task:
    """A loss and a metric.

    Attributes:
        name: ``"classification"``, ``"regression"``, or a user's own.
        metric: name of the metric, as shown to the user.
        higher_is_better: direction of the metric.
        loss: ``(outputs, targets) -> scalar``, the mean over the batch.
        new_metric: makes a fresh torchmetrics object that takes ``(outputs, targets)``.
    """

    name: str
    metric: str
    higher_is_better: bool
    loss: Callable[[Tensor, Tensor], Tensor]
    new_metric: Callable[[], Metric]


def classification(classes: int) -> Task:
    """Single-label classification: outputs are logits ``[N, classes]``, targets are integers ``[N]``.

    Raises DataError when there are fewer than two classes.
    """
    if classes < 2:
        raise DataError(f"classification needs at least 2 classes, got {classes}: check the targets")
    return Task(
        name="classification",
        metric="accuracy",
        higher_is_better=True,
        loss=functional.cross_entropy,
        new_metric=partial(MulticlassAccuracy, num_classes=classes, average="micro"),
    )


def regression() -> Task:
    """Regression: outputs and targets are floats of one shape; metric and loss are the squared error."""
    return Task(
        name="regression",
        metric="mse",
        higher_is_better=False,
        loss=functional.mse_loss,
        new_metric=MeanSquaredError,
    )


def task_by_name(name: str, classes: int | None = None) -> Task:
    """The task called ``"classification"`` (which needs ``classes``) or ``"regression"``.

    Raises DataError for another name, or when classes are missing.
    """
    if name == "regression":
        return regression()
    if name != "classification":
        raise DataError(f"unknown task {name!r}: use 'classification' or 'regression'")
    if classes is None:
        raise DataError("classification needs the number of classes: give 'classes'")
    return classification(classes)
