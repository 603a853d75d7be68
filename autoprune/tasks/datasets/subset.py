"""Subsets of a split."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler, Subset

from autoprune.tasks.data import DatasetSplit, LoaderSplit, Split, TensorSplit

MOST_SCORED = 200_000
"""Maximum number of scored samples of a split that is not in memory."""


def part(split: Split, positions: Tensor) -> Split | None:
    """The samples at these positions ``[N]``, in that order; None if the split has no random access.

    A DataLoader is rebuilt over the chosen items of its data set, with its own batch size and collation; this
    does not work for loaders that stream, shuffle or have their own batch sampler.
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
    """At most `count` samples of a split, drawn without replacement, in order; see :func:`part`.

    It needs memory only for these samples.
    """
    if len(split) <= most:
        return split
    return part(split, torch.tensor(sorted(random.Random(seed).sample(range(len(split)), most))))


def scorable(split: Split, seed: int) -> tuple[Split, str]:
    """The split, or a subset small enough to be scored repeatedly, and a note on it."""
    if isinstance(split, TensorSplit):
        return split, ""
    some = sampled(split, MOST_SCORED, seed)
    if some is None or some is split:
        return split, ""
    name = getattr(split, "name", "") or "a split"
    return some, f"{name} has {len(split):,} samples: {MOST_SCORED:,} of them, drawn at random, are scored"


def classes(split: Split) -> Tensor | None:
    """Class of every sample ``[N]``, if they are in memory and there are few classes; else None."""
    if not isinstance(split, TensorSplit) or split.targets.ndim != 1 or split.targets.is_floating_point():
        return None
    return split.targets


def shuffled(targets: Tensor | None, count: int, seed: int) -> Tensor:
    """All positions ``[count]`` in random order.

    With ``targets``, every prefix has about the overall class shares: the members of a class are spread
    evenly over the order, starting at a random position.
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
    """Whether a loader yields all samples of its data set in order."""
    return loader.batch_size is not None and type(loader.sampler) is SequentialSampler
