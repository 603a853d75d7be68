"""A longer recovery of one trial's model, for its export."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from autoprune.pruning_search.evaluation.evaluate import others_of
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.recovery import Checkpoint, finetune
from autoprune.recovery.training.recipe import steps_of
from autoprune.structure.plans import AnyPlan
from autoprune.study.listener import Listener
from autoprune.tasks import evaluate


@dataclass(frozen=True, eq=False)
class LongerRecovery:
    """What it gave.

    Attributes:
        how: what was done, in words.
        steps: optimiser steps, after those of the search.
        before: quality before, on the validation samples that judged the trial.
        quality: quality after, on the same samples.
        test: quality after, on the test split.
        others: further qualities after, by name, on validation samples.
    """

    how: str
    steps: int
    before: float
    quality: float
    test: float
    others: Mapping[str, float]

    @classmethod
    def of(cls, problem: Problem, model: nn.Module, how: str, steps: int, before: float) -> LongerRecovery:
        """What a model is worth after so many steps."""
        return cls(
            how=how,
            steps=steps,
            before=before,
            quality=finalist_quality(problem, model),
            test=evaluate(model, problem.data.test, problem.data.task).value,
            others=others_of(problem, model),
        )


def recover_longer(
    problem: Problem, model: nn.Module, plan: AnyPlan, length: str, folder: Path, listener: Listener
) -> LongerRecovery:
    """Fine-tune a trial's recovered model for so long, in place.

    A run that was stopped goes on from a file in `folder`, and one that is over is not run again. Raises
    ConfigError for a length that cannot be read.
    """
    steps = steps_of(length, problem.data.train, problem.config.batch_size)
    before = finalist_quality(problem, model)
    train_on(problem, model, plan, steps, folder, listener)
    return LongerRecovery.of(problem, model, f"fine-tuned for {steps} steps more", steps, before)


def finalist_quality(problem: Problem, model: nn.Module) -> float:
    """Quality on the validation samples that judge finalists."""
    return evaluate(model, problem.splits.holdout or problem.splits.selection, problem.data.task).value


def train_on(
    problem: Problem,
    model: nn.Module,
    plan: AnyPlan,
    steps: int,
    folder: Path,
    listener: Listener,
    part: str = "",
) -> None:
    """Train a model of a plan in place, with a checkpoint in `folder`; `part` says of what this is one."""
    recipe = recipe_of(problem.config, problem.data, steps)
    assert recipe is not None, steps
    identity = (
        problem.pruning.origin.weights,
        plan.hash,
        recipe,
        problem.config.seed,
        problem.config.augment,
    )
    key = repr((*identity, part) if part else identity)
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    checkpoint = Checkpoint(folder / f"finetune-{name}.pt", key)
    listener.phase("fine-tuning", f"{part}{', ' if part else ''}{recipe.steps} steps")

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
