"""Data as the search sees it: three splits that yield batches, and the task they pose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autoprune.arguments import check_type, described
from autoprune.errors import ArgumentError, DataError, UserError
from autoprune.tasks.exhausted import is_out_of_memory
from autoprune.tasks.reference import summary
from autoprune.tasks.task import Task

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Random change of a batch of inputs: same shape out, all randomness from the generator."""


class Split(Protocol):
    """A finite set of samples that can be read in batches, any number of times."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass of ``(inputs, targets)``.

        Without ``shuffle``: in order, unchanged, all samples. With it: shuffled and augmented from
        that generator, and a partial last batch is dropped if there is at least one full batch.
        """
        ...


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """Samples held in memory: ``inputs [N, ...]`` and ``targets [N, ...]``."""

    inputs: Tensor
    targets: Tensor
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(
                f"{len(self.inputs)} inputs but {len(self.targets)} targets: give one target per input"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`."""
        if shuffle is None:
            yield from zip(
                torch.split(self.inputs, batch_size), torch.split(self.targets, batch_size), strict=True
            )
            return
        for chosen in torch.split(torch.randperm(len(self), generator=shuffle), batch_size):
            if len(chosen) < batch_size <= len(self):
                return
            inputs = self.inputs[chosen]
            yield (self.augment(inputs, shuffle) if self.augment else inputs), self.targets[chosen]


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """A map-style dataset whose items are ``(input, target)``, read when it is needed.

    ``augment`` changes whole batches; randomness inside the dataset itself is the dataset's own.
    """

    dataset: Dataset[Any]
    augment: Augment | None = None
    workers: int = 0

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`. Raises DataError when an item is not an ``(input, target)`` pair."""
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size,
            shuffle=shuffle is not None,
            drop_last=shuffle is not None and len(self) >= batch_size,
            generator=shuffle,
            num_workers=self.workers,
        )
        for inputs, targets in map(_pair, _read(loader)):
            if shuffle is not None and self.augment is not None:
                yield self.augment(inputs, shuffle), targets
            else:
                yield inputs, targets


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """A user's DataLoader, read as it is: its own batch size, order, augmentation and worker processes.

    ``batch_size`` and ``shuffle`` of :meth:`batches` are ignored. A loader that shuffles draws from
    torch's global generator unless it was given its own.
    """

    loader: DataLoader[Any]

    def __len__(self) -> int:
        return len(cast(Sized, self.loader.dataset))

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`. Raises DataError when a batch is not an ``(inputs, targets)`` pair."""
        yield from map(_pair, _read(self.loader))


_A_SPLIT = (
    "give a TensorSplit, DatasetSplit or LoaderSplit, or in the place of Data a mapping of tensors, "
    "data sets or loaders"
)


@dataclass(frozen=True, eq=False)
class Data:
    """Everything a search needs to know about data.

    Attributes:
        name: how the data is called in reports.
        train: samples for recovery.
        validation: samples that decide the search.
        test: samples touched once, for the result that is reported.
        task: loss and metric.
        source: where it comes from, if the name alone does not tell it from other data.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    task: Task
    source: str = ""

    def __post_init__(self) -> None:
        check_type("name of the data", self.name, str, "a text")
        check_type("task", self.task, Task, "an autoprune.tasks.Task, such as classification(10)")
        for name in ("train", "validation", "test"):
            if not hasattr(getattr(self, name), "batches"):
                raise ArgumentError(f"{name} is {described(getattr(self, name))}: {_A_SPLIT}")
            if len(getattr(self, name)) == 0:
                raise DataError(f"{self.name}: the {name} split is empty, give it at least one sample")

    def example(self, samples: int = 1) -> Tensor:
        """The first inputs of the validation split, ``[samples, ...]`` (fewer if it holds fewer)."""
        chunks: list[Tensor] = []
        for inputs, _ in self.validation.batches(samples):
            chunks.append(inputs)
            if sum(map(len, chunks)) >= samples:
                break
        return torch.cat(chunks)[:samples]


def _read(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batches of a loader. Raises DataError, with the reason, when the data set or the loader fails."""
    try:
        yield from loader
    except UserError:
        raise
    except Exception as failure:
        if is_out_of_memory(failure):
            raise
        raise DataError(f"reading the data failed: {summary(failure)}") from failure


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The batch as ``(inputs, targets)``, or a DataError that says what it is instead."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise DataError(f"a batch must be a pair (inputs, targets), got {type(batch).__name__}")
    inputs, targets = batch
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        kinds = f"{type(inputs).__name__} and {type(targets).__name__}"
        raise DataError(f"inputs and targets must be tensors, got {kinds}: convert them in the dataset")
    return inputs, targets
