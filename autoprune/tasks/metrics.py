"""Metrics by name, computed by torchmetrics from a model's raw outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, classification, regression
from torchmetrics.text import Perplexity

from autoprune.errors import DataError
from autoprune.references import parse_code
from autoprune.spelling import did_you_mean
from autoprune.user_code import Permit, load_object, summary

Kind = Literal["classification", "binary", "multilabel", "regression", "sequence"]
"""What targets are: one class of several, yes or no, yes or no for each label, numbers, a class a place."""

IGNORED = -100
"""Target of a place in a sequence that counts for nothing, such as padding."""


@dataclass(frozen=True)
class Measure:
    """A metric and which way is better.

    Attributes:
        name: as shown to the user.
        higher_is_better: direction.
        make: gives a fresh object that takes ``(outputs, targets)``.
    """

    name: str
    higher_is_better: bool
    make: Callable[[], Metric]


class Prepared(Metric):
    """A metric that is given the outputs in the form it needs.

    torchmetrics takes numbers between 0 and 1 for probabilities, batch by batch, which logits may be by
    chance.
    """

    full_state_update = False

    def __init__(self, metric: Metric, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.metric = metric
        self.prepare = prepare

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch in."""
        self.metric.update(self.prepare(outputs), targets)

    def compute(self) -> Tensor:
        """The value over all batches."""
        value: Tensor = self.metric.compute()
        return value

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self.metric.reset()


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
        raise DataError(f"metric {name} does not say which way is better: set higher_is_better on its class")
    return Measure(name, metric.higher_is_better, make)


def as_binary(outputs: Tensor) -> Tensor:
    """``[N, 1]`` as ``[N]``, which is the shape of binary targets."""
    return outputs.squeeze(1) if outputs.dim() == 2 and outputs.shape[1] == 1 else outputs


def _top(name: str, k: int, classes: int) -> Measure:
    if not 1 <= k < classes:
        raise DataError(f"{name} of {classes} classes: give top1 to top{classes - 1}")
    make = partial(classification.MulticlassAccuracy, num_classes=classes, average="micro", top_k=k)
    return Measure(name, True, make)


def _accuracy(classes: int) -> Metric:
    return classification.MulticlassAccuracy(num_classes=classes, average="micro")


def _f1(classes: int) -> Metric:
    return classification.MulticlassF1Score(num_classes=classes, average="macro")


def _auroc(classes: int) -> Metric:
    return Prepared(classification.MulticlassAUROC(num_classes=classes), partial(torch.softmax, dim=1))


def _binary(metric: type[Metric], _: int | None) -> Metric:
    return Prepared(metric(), lambda outputs: as_binary(outputs).sigmoid())


def _by_label(metric: type[Metric], labels: int) -> Metric:
    return Prepared(metric(num_labels=labels), torch.sigmoid)


def _numbers(metric: type[Metric], _: int | None) -> Metric:
    return metric()


def _root_mean_square(_: int | None) -> Metric:
    return regression.MeanSquaredError(squared=False)


def _perplexity(_: int | None) -> Metric:
    return Perplexity(ignore_index=IGNORED)


def _place_accuracy(classes: int) -> Metric:
    metric = classification.MulticlassAccuracy(num_classes=classes, average="micro", ignore_index=IGNORED)
    return Prepared(metric, lambda outputs: outputs.movedim(-1, 1))


_KNOWN: Mapping[Kind, Mapping[str, tuple[bool, Callable[..., Metric]]]] = {
    "classification": {"accuracy": (True, _accuracy), "auroc": (True, _auroc), "f1": (True, _f1)},
    "binary": {
        "accuracy": (True, partial(_binary, classification.BinaryAccuracy)),
        "auroc": (True, partial(_binary, classification.BinaryAUROC)),
        "f1": (True, partial(_binary, classification.BinaryF1Score)),
    },
    "multilabel": {
        "accuracy": (True, partial(_by_label, classification.MultilabelAccuracy)),
        "auroc": (True, partial(_by_label, classification.MultilabelAUROC)),
        "f1": (True, partial(_by_label, classification.MultilabelF1Score)),
    },
    "regression": {
        "mse": (False, partial(_numbers, regression.MeanSquaredError)),
        "rmse": (False, _root_mean_square),
        "mae": (False, partial(_numbers, regression.MeanAbsoluteError)),
        "r2": (True, partial(_numbers, regression.R2Score)),
    },
    "sequence": {"perplexity": (False, _perplexity), "accuracy": (True, _place_accuracy)},
}
"""Kind of task -> metric -> whether higher is better, and what makes it from the number of classes."""
