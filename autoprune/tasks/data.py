"""Data for a search: three splits that yield batches, and their task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from autoprune.errors import ArgumentError, DataError
from autoprune.tasks.import_reference import summary
from autoprune.tasks.reading import place, read
from autoprune.tasks.task import Task
from autoprune.utils.arguments import check_type, described

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Random augmentation of a batch of inputs: same shape, with all randomness from the generator."""

LARGEST_ORDER = 1 << 22
"""Maximum number of samples for a permutation per pass; larger sets are drawn with replacement."""


class Split(Protocol):
    """A finite set of samples that can be read in batches, any number of times."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass of ``(inputs, targets)``.

        Without ``shuffle``: all samples in order, unchanged. With it: shuffled and augmented with that
        generator, without a partial batch after a full one. No batch is empty, and none is part of an
        autograd graph.
        """
        ...


@dataclass(frozen=True, eq=False)
class TensorSplit:
    """Samples held in memory: ``inputs [N, ...]`` and ``targets [N, ...]``.

    ``name`` is the split's name in errors; :class:`Data` sets it.
    """

    inputs: Tensor
    targets: Tensor
    augment: Augment | None = None
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        _check_paired(self.inputs, self.targets, self.name)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`."""
        inputs, targets = self.inputs.detach(), self.targets.detach()
        if shuffle is None:
            yield from zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
            return
        for chosen in torch.split(torch.randperm(len(self), generator=shuffle), batch_size):
            if len(chosen) < batch_size <= len(self):
                return
            some = inputs[chosen]
            yield (self.augment(some, shuffle) if self.augment else some), targets[chosen]


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """A map-style dataset whose items are ``(input, target)``, read on demand.

    ``augment`` changes whole batches; the dataset may have its own randomness. A shuffled pass over more than
    :data:`LARGEST_ORDER` samples draws them with replacement, because a permutation would need memory in
    proportion.
    """

    dataset: Dataset[Any]
    augment: Augment | None = None
    workers: int = 0
    name: str = field(default="", kw_only=True)

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`. Raises DataError when an item is not an ``(input, target)`` pair."""
        count = len(self)
        sampler = None
        if shuffle is not None and count > LARGEST_ORDER:
            sampler = RandomSampler(range(count), replacement=True, num_samples=count, generator=shuffle)
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size,
            shuffle=None if sampler else shuffle is not None,
            sampler=sampler,
            drop_last=shuffle is not None and count >= batch_size,
            generator=shuffle,
            num_workers=self.workers,
        )
        for inputs, targets in _pairs(loader, self.name):
            if shuffle is not None and self.augment is not None:
                yield self.augment(inputs, shuffle), targets
            else:
                yield inputs, targets


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """A user's DataLoader, read as it is: its own batch size, order, augmentation and worker processes.

    ``batch_size`` of :meth:`batches` is ignored, and ``shuffle`` only drops partial batches. A shuffling
    loader draws from torch's global generator unless it has its own. One with its own batch sampler has no
    full size: there, batches of one sample after a larger one count as partial.
    """

    loader: DataLoader[Any]
    name: str = field(default="", kw_only=True)

    def __len__(self) -> int:
        # A sampler may choose some of the data set.
        chosen = self.loader.sampler if self.loader.batch_size is not None else None
        return len(chosen if isinstance(chosen, Sized) else cast(Sized, self.loader.dataset))

    def batches(
        self, batch_size: int, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`Split`. Raises DataError when a batch is not an ``(inputs, targets)`` pair."""
        full, largest = self.loader.batch_size or 2, 0
        for inputs, targets in _pairs(self.loader, self.name):
            if shuffle is not None and len(inputs) < full <= largest:
                continue
            largest = max(largest, len(inputs))
            yield inputs, targets


_A_SPLIT = (
    "give a TensorSplit, DatasetSplit or LoaderSplit, or in the place of Data a mapping of tensors, "
    "data sets or loaders"
)


@dataclass(frozen=True, eq=False)
class Data:
    """The data of a search.

    Attributes:
        name: name of the data in reports.
        train: samples for recovery.
        validation: samples that decide the search.
        test: samples read once, for the reported result.
        task: loss and metric.
        source: its origin, if the name alone is ambiguous.
        notes: notes for the user on how it is read.

    Raises:
        ArgumentError: for a split or a task of another type.
        DataError: for a split without samples.

    Examples:
        >>> import autoprune, torch
        >>> from autoprune.tasks import TensorSplit, classification
        >>> split = TensorSplit(torch.randn(64, 20), torch.arange(64) % 2)
        >>> data = autoprune.Data("mine", split, split, split, classification(2))
        >>> data.example(4).shape
        torch.Size([4, 20])
    """

    name: str
    train: Split
    validation: Split
    test: Split
    task: Task
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_type("name of the data", self.name, str, "a string")
        check_type("task", self.task, Task, "an autoprune.tasks.Task, such as classification(10)")
        for name in ("train", "validation", "test"):
            split = getattr(self, name)
            if not hasattr(split, "batches"):
                raise ArgumentError(f"{name} is {described(split)}: {_A_SPLIT}")
            if count_of(split, name) == 0:
                raise DataError(f"{self.name}: the {name} split is empty, give it at least one sample")
            if isinstance(split, TensorSplit | DatasetSplit | LoaderSplit) and not split.name:
                object.__setattr__(self, name, replace(split, name=name))

    def example(self, samples: int = 1) -> Tensor:
        """The first inputs of the validation split, ``[samples, ...]`` (fewer if it holds fewer).

        Raises DataError if it yields no batch.
        """
        chunks: list[Tensor] = []
        for inputs, _ in self.validation.batches(samples):
            chunks.append(inputs)
            if sum(map(len, chunks)) >= samples:
                break
        if not chunks:
            raise no_batch("validation")
        return torch.cat(chunks)[:samples]


def no_batch(name: str) -> DataError:
    """The error for a non-empty split that yields no batch."""
    return DataError(
        f"{name or 'a split'} yields no batch: its loader must restart each time it is read, and have a "
        "full batch where it drops the last"
    )


def count_of(split: Sized, name: str) -> int:
    """Number of samples. Raises DataError if the user's ``__len__`` fails or is missing."""
    try:
        return len(split)
    except Exception as failure:
        raise DataError(
            f"{name} has no length: {summary(failure)}: give its data set a __len__ that counts its samples"
        ) from failure


def _pairs(loader: DataLoader[Any], name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Non-empty batches as ``(inputs, targets)``. Raises DataError for anything else."""
    for number, batch in enumerate(read(loader, name)):
        try:
            inputs, targets = _pair(batch)
        except DataError as error:
            raise DataError(f"{error} ({place(name, f'batch {number}')})") from None
        if len(inputs) > 0:
            yield inputs.detach(), targets.detach()


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The batch as ``(inputs, targets)``. Raises DataError for anything else."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise DataError(f"a batch must be a pair (inputs, targets), got {type(batch).__name__}")
    inputs, targets = batch
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        kinds = f"{type(inputs).__name__} and {type(targets).__name__}"
        raise DataError(f"inputs and targets must be tensors, got {kinds}: convert them in the dataset")
    _check_paired(inputs, targets)
    return inputs, targets


def _check_paired(inputs: Tensor, targets: Tensor, name: str = "") -> None:
    prefix = f"{name}: " if name else ""
    if inputs.ndim == 0 or targets.ndim == 0:
        raise DataError(f"{prefix}inputs and targets need an axis of samples: give [N, ...] and [N, ...]")
    if len(inputs) != len(targets):
        raise DataError(f"{prefix}{len(inputs)} inputs but {len(targets)} targets: give one target per input")
