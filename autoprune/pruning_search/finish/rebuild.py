"""Cutting a chosen plan again and fitting its layers one after the other, for its export."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from autoprune.errors import ConfigError
from autoprune.pruning_search.evaluation.evaluate import cut_model
from autoprune.pruning_search.finish.finetune_longer import (
    LongerRecovery,
    finalist_quality,
    train_on,
)
from autoprune.pruning_search.problem.problem import Problem
from autoprune.recovery.training.recipe import steps_of
from autoprune.structure import Plan
from autoprune.structure.plans import AnyPlan
from autoprune.study.listener import Listener

HOW = "rebuilt layer by layer"


def recover_rebuilt(
    problem: Problem,
    recovered: nn.Module,
    plan: AnyPlan,
    length: str | None,
    folder: Path,
    listener: Listener,
) -> tuple[nn.Module, LongerRecovery]:
    """The model of a trial's plan, cut again and fitted layer by layer, instead of the trained one.

    Args:
        problem: of the search.
        recovered: the trial's model, to compare with.
        plan: of the trial.
        length: of fine-tuning after that, such as ``"5epochs"``; None for none. A run that was stopped goes
            on from a file in `folder`.
        folder: for checkpoints.
        listener: receives progress.

    Raises:
        ConfigError: for masks, or a length that cannot be read.
    """
    if not isinstance(plan, Plan):
        raise ConfigError("masks are not rebuilt: leave --rebuild out")
    steps = 0 if length is None else steps_of(length, problem.data.train, problem.config.batch_size)
    before = finalist_quality(problem, recovered)
    listener.phase("rebuild", "layer by layer")
    model = cut_model(problem, plan)
    problem.recovery.repair(model, plan, rebuild=True)
    if steps:
        train_on(problem, model, plan, steps, folder, listener, HOW)
    how = f"{HOW}, then fine-tuned for {steps} steps" if steps else HOW
    return model, LongerRecovery.of(problem, model, how, steps, before)
