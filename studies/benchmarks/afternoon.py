"""What one writes in an afternoon: Optuna's NSGA-II over one sparsity a group, every trial fine-tuned."""

from __future__ import annotations

import optuna
from subject import Run, copy_of

import autoprune

LARGEST = 0.9


def run(run: Run) -> None:
    """Trials until the time is up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    structure = run.problem.structure
    names = [group.name for group in structure.groups]
    sampler = optuna.samplers.NSGAIISampler(seed=run.seed, population_size=10)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    while not run.over:
        trial = study.ask()
        sparsity = {name: trial.suggest_float(name, 0.0, LARGEST) for name in names}
        example = run.problem.data.example(1)
        model = run.recover(autoprune.prune(copy_of(run.problem.model), example, sparsity, criterion="l2"))
        study.tell(trial, [run.accuracy(model), run.multiply_adds(model) / run.original])
        run.record("afternoon", model, steps=run.config.finetune_steps)
