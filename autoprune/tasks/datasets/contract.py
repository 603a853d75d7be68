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
  the length of the targets' last axis. Of more than 100,000 samples that are not in memory, 10,000 are looked
  at.

Targets may have any type that holds their values: class indices any integers, 0 and 1 also truth values or
floats, the numbers of a regression anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from autoprune.config.references import Code, OwnObject
from autoprune.config.user_code import Permit, call_factory, summary
from autoprune.errors import DataError
from autoprune.tasks.data import Data, DatasetSplit, LoaderSplit, Split, TensorSplit, count_of, no_batch
from autoprune.tasks.datasets.subset import in_order, sampled
from autoprune.tasks.metrics import IGNORED
from autoprune.tasks.reading import place
from autoprune.tasks.task import Task, task_by_name

PARTS = ("train", "validation", "test")
KEYS = (*PARTS, "task", "metric", "classes")
MOST_COUNTED, COUNTED = 100_000, 10_000
"""Most samples not in memory that are all read to count the classes, and how many are read of more."""


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
    for key, split in zip(PARTS, (train, validation, test), strict=True):
        if count_of(split, key) == 0:
            raise DataError(f"the {key} split is empty, give it at least one sample")
    counted = _to_count(train)
    task = _task(made.get("task", "classification"), made.get("classes"), counted)
    if "metric" in made:
        task = task.measured_by(made["metric"])
    notes: tuple[str, ...] = ()
    if counted is not train and task.classes is not None and made.get("classes") is None:
        notes = (
            f"{task.classes} classes were counted in {len(counted):,} of {len(train):,} training samples: "
            "set 'classes' if there are more",
        )
    data = Data(name=name, train=train, validation=validation, test=test, task=task, notes=notes)
    data.example()
    return data


def _split(key: str, value: Any) -> Split:
    if isinstance(value, IterableDataset) or (
        isinstance(value, DataLoader) and isinstance(value.dataset, IterableDataset)
    ):
        raise DataError(f"{key!r} streams an IterableDataset: use a map-style dataset")
    if isinstance(value, DataLoader):
        return LoaderSplit(value, name=key)
    if isinstance(value, Dataset) and hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return DatasetSplit(value, name=key)
    if (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(part, Tensor) for part in value)
    ):
        return TensorSplit(value[0], value[1], name=key)
    raise DataError(
        f"{key!r} is a {type(value).__name__}: give a DataLoader, a map-style Dataset or a pair of tensors"
    )


def _to_count(train: Split) -> Split:
    """The samples of which classes are counted: some of a data set that takes long to read."""
    if isinstance(train, TensorSplit) or len(train) <= MOST_COUNTED:
        return train
    return sampled(train, COUNTED, 0) or _First(train, COUNTED)


@dataclass(frozen=True, eq=False)
class _First:
    """The first samples of a split that can only be read from its beginning, to whole batches."""

    split: Split
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.split))

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`autoprune.tasks.data.Split`."""
        seen = 0
        for inputs, targets in self.split.batches(batch_size, shuffle=shuffle):
            yield inputs, targets
            seen += len(inputs)
            if seen >= self.count:
                return


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
    targets = next((targets for _, targets in train.batches(1)), None)
    if targets is None:
        raise no_batch("train")
    if targets.ndim != 2:
        raise DataError(f"targets have {targets.ndim} axes: a multilabel task needs 0 or 1 [N, labels]")
    return targets.shape[1]


def _count_classes(train: Split, axes: int) -> int:
    largest, read = -1, 0
    for _, targets in train.batches(500):
        if targets.is_floating_point() or targets.is_complex() or targets.ndim != axes:
            raise DataError(_not_indices(targets, axes))
        wrong = _first_negative(targets, axes)
        if wrong is not None:
            where = place("train", f"sample {read + wrong}" if _is_ordered(train) else "")
            raise DataError(
                f"a class index of {int(targets[wrong].min())} ({where}): classes count from 0; leave such "
                "samples out"
            )
        largest, read = max(largest, int(targets.max())), read + len(targets)
    if read == 0:
        raise no_batch("train")
    return largest + 1


def _first_negative(targets: Tensor, axes: int) -> int | None:
    """Position of the first sample with an index below 0, but for places of a sequence that are left out."""
    wrong = (targets < 0) & (targets != IGNORED) if axes == 2 else targets < 0
    rows = wrong.reshape(len(targets), -1).any(1).nonzero()
    return int(rows[0]) if len(rows) else None


def _is_ordered(split: Split) -> bool:
    return isinstance(split, TensorSplit | DatasetSplit) or (
        isinstance(split, LoaderSplit) and in_order(split.loader)
    )


def _not_indices(targets: Tensor, axes: int) -> str:
    """Why targets are no class indices, and what to do with what they seem to be."""
    are = f"targets are {targets.dtype} {['N', *targets.shape[1:]]}".replace("'", "")
    needed = "classification needs integers [N]" if axes == 1 else "a sequence needs integers [N, length]"
    if axes == 1 and targets.ndim == 2 and targets.shape[1] == 1:
        advice = (
            "give targets.squeeze(1)" if not targets.is_floating_point() else "give the indices as integers"
        )
    elif axes == 1 and targets.ndim == 2 and bool((targets.sum(1) == 1).all()):
        advice = "one-hot rows become indices by targets.argmax(1); several labels a sample are 'multilabel'"
    elif targets.ndim == axes and bool((targets == targets.round()).all()):
        advice = "give targets.long(), or set 'task' to 'regression' for numbers"
    else:
        advice = "set 'task' to 'regression' for numbers, 'multilabel' for several labels a sample"
    return f"{are}: {needed}; {advice}"
