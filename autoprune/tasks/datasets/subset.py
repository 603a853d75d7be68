"""Some of the samples of a split, as a split of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler, Subset

from autoprune.tasks.data import DatasetSplit, LoaderSplit, Split, TensorSplit

MOST_SCORED = 200_000
"""Samples that are scored at most of a split that is not in memory."""


def part(split: Split, positions: Tensor) -> Split | None:
    """The samples at these positions ``[N]``, in that order; None where a split cannot be read in parts.

    A DataLoader is made anew over the chosen items of its data set, with its own batch size and collation;
    one that streams, shuffles or makes its own batches cannot.
    """
    if isinstance(split, TensorSplit):
        return TensorSplit(split.inputs[positions], split.targets[positions], split.augment, name=split.name)
    chosen: Sequence[int] = positions.tolist()
    if isinstance(split, DatasetSplit):
        return DatasetSplit(Subset(split.dataset, chosen), split.augment, split.workers, name=split.name)
    if isinstance(split, LoaderSplit) and in_order(split.loader):
        loader = split.loader
        return LoaderSplit(
            DataLoader(
                Subset(loader.dataset, chosen),
                loader.batch_size,
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
            ),
            name=split.name,
        )
    return None


def sampled(split: Split, most: int, seed: int) -> Split | None:
    """At most so many samples of a split, drawn without replacement, in order; see :func:`part`.

    Takes memory for those alone.
    """
    if len(split) <= most:
        return split
    return part(split, torch.tensor(sorted(random.Random(seed).sample(range(len(split)), most))))


def scorable(split: Split, seed: int) -> tuple[Split, str]:
    """The split, or as much of it as can be scored again and again, and what to tell of that."""
    if isinstance(split, TensorSplit):
        return split, ""
    some = sampled(split, MOST_SCORED, seed)
    if some is None or some is split:
        return split, ""
    name = getattr(split, "name", "") or "a split"
    return some, f"{name} has {len(split):,} samples: {MOST_SCORED:,} of them, drawn at random, are scored"


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
    """Whether a loader gives all samples of its data set, in their order."""
    return loader.batch_size is not None and type(loader.sampler) is SequentialSampler
