"""Some of the samples of a split, as a split of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Subset

from autoprune.tasks.data import DatasetSplit, LoaderSplit, Split, TensorSplit


def part(split: Split, positions: Tensor) -> Split | None:
    """The samples at these positions ``[N]``, in that order; None where a split cannot be read in parts.

    A DataLoader is made anew over the chosen items of its data set, with its own batch size and collation;
    one that streams, shuffles or makes its own batches cannot.
    """
    if isinstance(split, TensorSplit):
        return TensorSplit(split.inputs[positions], split.targets[positions], split.augment)
    chosen: Sequence[int] = positions.tolist()
    if isinstance(split, DatasetSplit):
        return DatasetSplit(Subset(split.dataset, chosen), split.augment, split.workers)
    if isinstance(split, LoaderSplit) and in_order(split.loader):
        loader = split.loader
        return LoaderSplit(
            DataLoader(
                Subset(loader.dataset, chosen),
                loader.batch_size,
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
            )
        )
    return None


def classes(split: Split) -> Tensor | None:
    """Class of every sample ``[N]``, where they are in memory and there are few; else None."""
    if not isinstance(split, TensorSplit) or split.targets.ndim != 1 or split.targets.is_floating_point():
        return None
    return split.targets


def shuffled(targets: Tensor | None, count: int, seed: int) -> Tensor:
    """All positions ``[count]`` in random order.

    With ``targets``, every prefix has about the shares of all classes: the members of a class are spread
    evenly over the order, each from a random place of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    if targets is None:
        return order
    place = torch.empty(count, dtype=torch.float64)
    for label in torch.unique(targets):
        members = order[targets[order] == label]
        jitter = torch.rand(len(members), generator=generator, dtype=torch.float64)
        place[members] = (torch.arange(len(members)) + jitter) / len(members)
    return place.argsort(stable=True)


def in_order(loader: DataLoader[object]) -> bool:
    """Whether a loader gives the same samples in the same order every time."""
    streams = isinstance(loader.dataset, IterableDataset)
    return loader.batch_size is not None and not streams and not isinstance(loader.sampler, RandomSampler)
