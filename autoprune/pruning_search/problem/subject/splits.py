"""Validation data in a selection split, which guides the sampler, and a holdout split, which ranks finalists.

The trial that looks best of many on some samples looks better there than it is. Samples that guided nothing
say by how much. ``studies/selection`` has the evidence for both numbers below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autoprune.config.settings import Config
from autoprune.errors import ConfigError
from autoprune.tasks import Data, Split
from autoprune.tasks.datasets.in_memory import held
from autoprune.tasks.datasets.subset import classes, part, shuffled

LEAST_SAMPLES = 1000
"""From so many on, validation data is divided. With fewer, a part has more noise than the other has bias."""
HOLDOUT_SHARE = 0.3
"""Share of them that ranks finalists: with so many to guide it, the choice is as good as with all."""


@dataclass(frozen=True, eq=False)
class ValidationSplits:
    """Validation data as the search uses it.

    Attributes:
        selection: samples behind every objective value, in an order that makes any first few of them a fair
            sample where the data can be read in another order.
        holdout: samples that only finalists are scored on; None where all samples select.
        note: why all samples select; empty where there are two splits.
    """

    selection: Split
    holdout: Split | None
    note: str = ""


def divide(data: Data, config: Config) -> ValidationSplits:
    """Divide the validation split: with classes in equal shares where they are at hand, always the same way.

    Raises ConfigError when a share is asked of data that can only be read as a whole, or leaves a part empty.
    """
    split, share = data.validation, config.holdout_share
    count = len(split)
    order = shuffled(classes(split), count, config.seed)
    held_out_share = HOLDOUT_SHARE if share is None and count >= LEAST_SAMPLES else share or 0.0
    held_out = round(held_out_share * count)
    if share and not 0 < held_out < count:
        raise ConfigError(f"holdout_share {share} of {count} samples leaves a part empty: give another share")
    sizes = [count - held_out, held_out]
    selection, holdout = (_hold(part(split, some)) for some in torch.split(order, sizes))
    if selection is None or holdout is None:
        if share:
            raise ConfigError(
                "the validation data streams or shuffles, so that it cannot be divided: leave holdout_share "
                "out, or give a map-style data set"
            )
        return ValidationSplits(
            split, None, "validation data streams or shuffles: all of it guides the search"
        )
    if held_out == 0:
        few = f"{count} validation samples are too few to divide: all of them guide the search"
        return ValidationSplits(selection, None, few if share is None else "")
    return ValidationSplits(selection, holdout)


def _hold(split: Split | None) -> Split | None:
    """In memory if it is small: every candidate is scored on it."""
    return split if split is None or len(split) == 0 else held(split)
