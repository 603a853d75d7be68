"""What a user's data factory may return.

A factory is called without arguments. It returns an :class:`autoprune.tasks.Data`, or a mapping with

- ``train``, ``validation``, ``test``: each a ``DataLoader``, a map-style ``Dataset`` that yields
  ``(input, target)``, or a pair of tensors ``(inputs [N, ...], targets [N, ...])``;
- ``task`` (optional): what targets are, or a :class:`autoprune.tasks.Task` (see there). The outputs of the
  model are logits, of regression numbers, and the targets

  ==================== =========================== ===================================== ==================
  ``"classification"`` integers ``[N]``            outputs ``[N, classes]``              ``accuracy``
  ``"binary"``         0 or 1, ``[N]``             outputs ``[N]`` or ``[N, 1]``         ``accuracy``
  ``"multilabel"``     0 or 1, ``[N, labels]``     outputs ``[N, labels]``               ``accuracy``
  ``"regression"``     numbers of any shape        outputs of the same shape             ``mse``
  ``"sequence"``       integers ``[N, length]``    outputs ``[N, length, classes]``      ``perplexity``
  ==================== =========================== ===================================== ==================

  Without it, classification. The last column is the metric by which candidates are judged;
- ``metric`` (optional): another metric: ``accuracy``, ``top5``, ``auroc``, ``f1``, ``mse``, ``rmse``,
  ``mae``, ``r2`` or ``perplexity``, where it goes with the task, or what makes a :class:`torchmetrics.Metric`
  that says ``higher_is_better``; it gets the model's outputs as they are;
- ``classes`` (optional): the number of classes or labels, else one more than the largest training target, or
  the length of the targets' last axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from autoprune.errors import DataError
from autoprune.references import Code, OwnObject
from autoprune.tasks.data import Data, DatasetSplit, LoaderSplit, Split, TensorSplit
from autoprune.tasks.task import Task, task_by_name
from autoprune.user_code import Permit, call_factory, summary

PARTS = ("train", "validation", "test")
KEYS = (*PARTS, "task", "metric", "classes")


def from_factory(code: Code | OwnObject, permit: Permit) -> Data:
    """Call a factory and check what it returns (see the module's docstring).

    Raises DataError, naming the factory, when it fails or returns something else, and TrustError where it
    may not run.
    """
    made, spec = call_factory(code, permit, "data", DataError), str(code)
    if isinstance(made, Data):
        return made
    try:
        return data_of(spec, made)
    except DataError as error:
        raise DataError(f"data {spec!r}: {error}") from error
    except Exception as failure:
        raise DataError(f"data {spec!r}: reading it failed: {summary(failure)}") from failure


def data_of(name: str, made: Any) -> Data:
    """The data that a mapping describes (see the module's docstring), under a name for reports.

    Raises DataError when it describes none.
    """
    if not isinstance(made, Mapping):
        raise DataError(
            f"the factory returned {type(made).__name__}: return a mapping with {', '.join(PARTS)}"
        )
    missing = [key for key in PARTS if key not in made]
    if missing:
        raise DataError(f"the key {missing[0]!r} is missing: return {', '.join(PARTS)}")
    unknown = [key for key in made if key not in KEYS]
    if unknown:
        raise DataError(f"the key {unknown[0]!r} is unknown: the keys are {', '.join(KEYS)}")
    train, validation, test = (_split(key, made[key]) for key in PARTS)
    task = _task(made.get("task", "classification"), made.get("classes"), train)
    if "metric" in made:
        task = task.measured_by(made["metric"])
    data = Data(name=name, train=train, validation=validation, test=test, task=task)
    data.example()
    return data


def _split(key: str, value: Any) -> Split:
    if isinstance(value, DataLoader):
        if isinstance(value.dataset, IterableDataset):
            raise DataError(f"{key!r} streams an IterableDataset: use a map-style dataset")
        return LoaderSplit(value)
    if isinstance(value, Dataset) and hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return DatasetSplit(value)
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(part, Tensor) for part in value)
    ):
        return TensorSplit(value[0], value[1])
    raise DataError(
        f"{key!r} is a {type(value).__name__}: give a DataLoader, a map-style Dataset or a pair of tensors"
    )


def _task(task: Any, classes: Any, train: Split) -> Task:
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise DataError(f"'task' is a {type(task).__name__}: give a name such as 'regression', or a Task")
    if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool)):
        raise DataError(f"'classes' is a {type(classes).__name__}: give a whole number")
    if task in ("classification", "sequence") and classes is None:
        classes = _count_classes(train, axes=1 if task == "classification" else 2)
    if task == "multilabel" and classes is None:
        classes = _count_labels(train)
    return task_by_name(task, classes)


def _count_labels(train: Split) -> int:
    _, targets = next(train.batches(1))
    if targets.ndim != 2:
        raise DataError(f"targets have {targets.ndim} axes: a multilabel task needs 0 or 1 [N, labels]")
    return targets.shape[1]


def _count_classes(train: Split, axes: int) -> int:
    largest = -1
    for _, targets in train.batches(500):
        if targets.is_floating_point() or targets.ndim != axes:
            needed = (
                "classification needs integers [N]" if axes == 1 else "a sequence needs integers [N, length]"
            )
            raise DataError(
                f"targets are {targets.dtype} of {targets.ndim} axes: {needed}; "
                "set 'task' to 'regression' for numbers"
            )
        largest = max(largest, int(targets.max()))
    return largest + 1
