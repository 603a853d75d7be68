"""How long a recovery is, read from a short text."""

from __future__ import annotations

import re

from autoprune.errors import ConfigError
from autoprune.recovery.training.recipe import steps_for_epochs
from autoprune.tasks.data import Split

_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(epochs?|steps?)")


def steps_of(text: str, split: Split, batch_size: int) -> int:
    """Steps in ``5epochs`` or ``500steps``. Raises ConfigError for anything else."""
    found = _LENGTH.fullmatch(text.strip())
    amount = float(found[1]) if found else 0.0
    if found is None or amount <= 0 or (found[2].startswith("step") and "." in found[1]):
        raise ConfigError(f"finetune {text[:60]!r} is no length: write 5epochs or 500steps")
    if found[2].startswith("step"):
        return int(amount)
    return steps_for_epochs(amount, split, batch_size)
