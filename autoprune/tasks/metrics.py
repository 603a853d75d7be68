"""Metrics by name, computed by torchmetrics from a model's raw outputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, classification, regression
from torchmetrics.text import Perplexity

from autoprune.config.references import parse_code
from autoprune.config.user_code import Permit, load_object, summary
from autoprune.errors import DataError
from autoprune.utils.suggest import did_you_mean

Kind = Literal["classification", "binary", "multilabel", "regression", "sequence"]
"""What targets are: one class of several, yes or no, yes or no for each label, numbers, a class a place."""

IGNORED = -100
"""Target of an ignored position in a sequence, such as padding."""


@dataclass(frozen=True)
class Measure:
    """A metric and its direction.

    Attributes:
        name: as shown to the user.
        higher_is_better: direction.
        make: creates a new object that takes ``(outputs, targets)``.
    """

    name: str
    higher_is_better: bool
    make: Callable[[], Metric]


Prepare = Callable[[Tensor], Tensor]
"""Brings outputs, or targets, to the form that a metric needs."""


class Prepared(Metric):
    """A metric that is given outputs and targets in the form it needs.

    torchmetrics takes numbers between 0 and 1 for probabilities, batch by batch, which logits may be by
    chance, and most of its metrics take whole targets in integers alone.
    """

    full_state_update = False

    def __init__(self, metric: Metric, outputs: Prepare, targets: Prepare) -> None:
        super().__init__()
        self.metric = metric
        self.outputs = outputs
        self.targets = targets

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self.metric.update(self.outputs(outputs), self.targets(targets))

    def compute(self) -> Tensor:
        """The value over all batches."""
        value: Tensor = self.metric.compute()
        return value

    def reset(self) -> None:
        """Reset the metric."""
        super().reset()
        self.metric.reset()


class Auroc(Metric):
    """The mean AUROC over classes or labels of which there are samples and others; NaN where there is none.

    torchmetrics counts the others as 0, which no model could do anything about.
    """

    full_state_update = False
    seen: Tensor
    samples: Tensor

    def __init__(self, metric: Metric, count: Prepare, classes: int) -> None:
        """`metric` gives one value a class; `count` says of targets how many samples of each there are."""
        super().__init__()
        self.metric = metric
        self.count = count
        self.add_state("seen", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self.metric.update(outputs, targets)
        self.seen += self.count(targets)
        self.samples += len(targets)

    def compute(self) -> Tensor:
        """The value over all batches."""
        known = (self.seen > 0) & (self.seen < self.samples)
        if not bool(known.any()):
            return torch.tensor(math.nan)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No (positive|negative) samples")
            values: Tensor = self.metric.compute()
        return values.reshape(-1)[known].mean()

    def reset(self) -> None:
        """Reset the metric."""
        super().reset()
        self.metric.reset()


def as_indices(targets: Tensor) -> Tensor:
    """Class indices of any integer type as int64. Raises ValueError for other numbers."""
    if targets.is_floating_point() or targets.is_complex():
        raise ValueError(f"class indices are integers, got {targets.dtype}: give targets.long()")
    return targets.long()


def as_truths(targets: Tensor) -> Tensor:
    """Targets of any type that are 0 or 1, as int64. Raises ValueError for other values."""
    wrong = targets[(targets != 0) & (targets != 1)]
    if len(wrong):
        raise ValueError(f"targets must be 0 or 1, got {wrong[0].item():g}")
    return targets.long()


def as_numbers(targets: Tensor) -> Tensor:
    """Numbers of any type as floats in which sums are exact enough."""
    return targets if targets.dtype is torch.float64 else targets.float()


def measure(kind: Kind, name: str, classes: int | None = None) -> Measure:
    """The metric of that name for a kind of task, or a user's own by reference.

    ``classification``: ``accuracy``, ``topK`` such as ``top5``, ``auroc`` (each class against the rest) and
    ``f1`` (means over the classes). ``binary``, ``multilabel``: ``accuracy``, ``auroc``, ``f1`` (means over
    the labels). ``regression``: ``mse``, ``rmse``, ``mae``, ``r2``. ``sequence``: ``perplexity``,
    ``accuracy``.
    ``package.module:Name`` and ``path/file.py:Name`` lead to a class or function that gives a
    :class:`torchmetrics.Metric` without arguments; it gets the raw outputs and says ``higher_is_better``.

    Args:
        kind: of the task.
        name: of the metric.
        classes: number of classes or labels, for the kinds that have some.

    Raises:
        DataError: for a metric that there is not.
    """
    if (mine := own_by_reference(name)) is not None:
        return mine
    if kind == "classification" and name.startswith("top") and name[3:].isdecimal():
        return _top(name, int(name[3:]), classes or 0)
    known = _KNOWN[kind]
    if name not in known:
        elsewhere = ", ".join(other for other in _KNOWN if name in _KNOWN[other])
        hint = f", which is for {elsewhere}:" if elsewhere else did_you_mean(name, known, ":")
        names = ", ".join([*known, *(["top5"] if kind == "classification" else [])])
        raise DataError(f"{kind} has no metric {name!r}{hint} there are {names}, or give path/file.py:Metric")
    higher, make = known[name]
    return Measure(name, higher, partial(make, classes))


def own_by_reference(text: str) -> Measure | None:
    """The metric that the caller names by module or file; None for another form. Raises as :func:`own`."""
    code = parse_code(text)
    if code is None:
        return None
    return own(load_object(code, Permit.naming(code), "metric", DataError), code.attribute)


def own(make: Any, name: str) -> Measure:
    """A user's metric. Raises DataError when it is none, or does not say which way is better."""
    try:
        metric = make() if callable(make) and not isinstance(make, Metric) else None
    except Exception as failure:
        raise DataError(f"metric {name} cannot be made without arguments: {summary(failure)}") from failure
    if not isinstance(metric, Metric):
        raise DataError(f"metric {name}: give a class or function that makes a torchmetrics.Metric")
    if not isinstance(metric.higher_is_better, bool):
        raise DataError(f"metric {name} has no direction: set higher_is_better on its class")
    return Measure(name, metric.higher_is_better, make)


def as_binary(outputs: Tensor) -> Tensor:
    """``[N, 1]`` as ``[N]``, which is the shape of binary targets."""
    return outputs.squeeze(1) if outputs.dim() == 2 and outputs.shape[1] == 1 else outputs


def _top(name: str, k: int, classes: int) -> Measure:
    if not 1 <= k < classes:
        raise DataError(f"{name} of {classes} classes: give top1 to top{classes - 1}")
    return Measure(name, True, partial(_accuracy, classes, k))


def _as_given(outputs: Tensor) -> Tensor:
    return outputs


def _accuracy(classes: int, k: int = 1) -> Metric:
    return classification.MulticlassAccuracy(num_classes=classes, average="micro", top_k=k)


def _f1(classes: int) -> Metric:
    metric = classification.MulticlassF1Score(num_classes=classes, average="macro")
    return Prepared(metric, _as_given, as_indices)


def _auroc(classes: int) -> Metric:
    metric = classification.MulticlassAUROC(num_classes=classes, average=None)
    counted = Auroc(metric, partial(torch.bincount, minlength=classes), classes)
    return Prepared(counted, _softmax, as_indices)


def _binary(metric: type[Metric], _: int | None) -> Metric:
    return Prepared(metric(), _probability, as_truths)


def _binary_auroc(_: int | None) -> Metric:
    return Prepared(Auroc(classification.BinaryAUROC(), torch.sum, 1), _probability, as_truths)


def _by_label(metric: type[Metric], labels: int) -> Metric:
    return Prepared(metric(num_labels=labels), _sigmoid, as_truths)


def _label_auroc(labels: int) -> Metric:
    metric = classification.MultilabelAUROC(num_labels=labels, average=None)
    return Prepared(Auroc(metric, partial(torch.sum, dim=0), labels), _sigmoid, as_truths)


def _probability(outputs: Tensor) -> Tensor:
    return _sigmoid(as_binary(outputs))


def _sigmoid(outputs: Tensor) -> Tensor:
    return outputs.float().sigmoid()


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.float().softmax(dim=1)


def _numbers(metric: Callable[[], Metric], _: int | None) -> Metric:
    return Prepared(metric(), as_numbers, as_numbers)


def _perplexity(_: int | None) -> Metric:
    return Prepared(Perplexity(ignore_index=IGNORED), as_numbers, as_indices)


def _place_accuracy(classes: int) -> Metric:
    metric = classification.MulticlassAccuracy(num_classes=classes, average="micro", ignore_index=IGNORED)
    return Prepared(metric, lambda outputs: outputs.movedim(-1, 1), as_indices)


_KNOWN: Mapping[Kind, Mapping[str, tuple[bool, Callable[..., Metric]]]] = {
    "classification": {"accuracy": (True, _accuracy), "auroc": (True, _auroc), "f1": (True, _f1)},
    "binary": {
        "accuracy": (True, partial(_binary, classification.BinaryAccuracy)),
        "auroc": (True, _binary_auroc),
        "f1": (True, partial(_binary, classification.BinaryF1Score)),
    },
    "multilabel": {
        "accuracy": (True, partial(_by_label, classification.MultilabelAccuracy)),
        "auroc": (True, _label_auroc),
        "f1": (True, partial(_by_label, classification.MultilabelF1Score)),
    },
    "regression": {
        "mse": (False, partial(_numbers, regression.MeanSquaredError)),
        "rmse": (False, partial(_numbers, partial(regression.MeanSquaredError, squared=False))),
        "mae": (False, partial(_numbers, regression.MeanAbsoluteError)),
        "r2": (True, partial(_numbers, regression.R2Score)),
    },
    "sequence": {"perplexity": (False, _perplexity), "accuracy": (True, _place_accuracy)},
}
"""Kind of task -> metric -> whether higher is better, and what makes it from the number of classes."""
