"""A longer recovery of one trial's model, for its export."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from autoprune.recovery import Checkpoint, finetune
from autoprune.recovery.length import steps_of
from autoprune.review import Listener
from autoprune.search.problem import Problem
from autoprune.search.recipe import recipe_of
from autoprune.structure.plans import AnyPlan
from autoprune.tasks import evaluate


@dataclass(frozen=True, eq=False)
class Longer:
    """What it gave.

    Attributes:
        steps: optimiser steps, after those of the search.
        before: quality before, on the validation samples that judged the trial.
        quality: quality after, on the same samples.
        test: quality after, on the test split.
    """

    steps: int
    before: float
    quality: float
    test: float


def recover_longer(
    problem: Problem, model: nn.Module, plan: AnyPlan, length: str, folder: Path, listener: Listener
) -> Longer:
    """Fine-tune a trial's healed model for so long, in place.

    A run that was stopped goes on from a file in `folder`, and one that is over is not run again. Raises
    ConfigError for a length that cannot be read.
    """
    recipe = recipe_of(
        problem.config, problem.data, steps_of(length, problem.data.train, problem.config.batch_size)
    )
    assert recipe is not None, length
    key = repr((problem.weights, plan.hash, recipe, problem.config.seed, problem.config.augment))
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    checkpoint = Checkpoint(folder / f"finetune-{name}.pt", key)
    judges = problem.parts.ranking or problem.parts.guiding
    before = evaluate(model, judges, problem.data.task).value
    listener.phase("fine-tuning", f"{recipe.steps} steps")

    def report(step: int, loss: float) -> None:
        if step % 10 == 0 or step == recipe.steps:
            listener.progress(step / recipe.steps, f"step {step} of {recipe.steps}, loss {loss:.3f}")

    with problem.pruning.training(model, plan):
        finetune(
            model,
            problem.data,
            recipe,
            seed=problem.config.seed,
            teacher=problem.model,
            on_step=report,
            checkpoint=checkpoint,
        )
    return Longer(
        steps=recipe.steps,
        before=before,
        quality=evaluate(model, judges, problem.data.task).value,
        test=evaluate(model, problem.data.test, problem.data.task).value,
    )
