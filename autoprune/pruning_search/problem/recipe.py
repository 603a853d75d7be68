"""How the candidates of a search are recovered."""

from __future__ import annotations

from autoprune.config.settings import Config
from autoprune.recovery import Recipe, steps_for_epochs
from autoprune.tasks import Data

DEFAULT_STEPS, DEFAULT_EPOCHS = 150, 5
"""Length of the recovery when none is given: this many steps, or epochs where those are fewer."""


def recipe_of(config: Config, data: Data, steps: int | None = None) -> Recipe | None:
    """The recovery that the settings ask for, or one of so many steps; None where they ask for none."""
    if steps is None:
        steps = config.finetune_steps
    if steps is None:
        steps = min(DEFAULT_STEPS, steps_for_epochs(DEFAULT_EPOCHS, data.train, config.batch_size))
    if steps == 0:
        return None
    return Recipe(
        steps=steps,
        optimizer=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        label_smoothing=config.label_smoothing,
        distill=config.distill,
        distill_features=config.distill_features,
        clip=config.clip,
        precision=config.precision,
    )
