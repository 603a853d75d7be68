"""Cutting a chosen plan again in several rounds, with fine-tuning between them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from optuna.trial import FrozenTrial
from torch import nn

from autoprune.criteria import Ranking
from autoprune.errors import ConfigError, ModelError
from autoprune.pruning_search.finish.finetune_longer import LongerRecovery, finalist_quality, train_on
from autoprune.pruning_search.problem.criterion_choice import mixture_of
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.recovery.training.recipe import steps_of
from autoprune.structure import Plan, Structure, apply
from autoprune.structure.plans import AnyPlan
from autoprune.study.listener import Listener

MOST_ROUNDS = 100


def recover_gradually(
    problem: Problem,
    recovered: nn.Module,
    plan: AnyPlan,
    trial: FrozenTrial,
    length: str,
    rounds: int,
    folder: Path,
    listener: Listener,
) -> tuple[nn.Module, LongerRecovery]:
    """The model of a trial's plan, cut again from the original in `rounds` rounds.

    The first rounds cut most: after round ``t`` of ``n``, the share ``1 - (1 - t / n) ** 3`` of what goes is
    gone, as in Zhu and Gupta, "To Prune, or Not to Prune" (2017). Units go in the order of the trial's
    criterion. Every round compensates, recalibrates BatchNorm statistics, and
    takes its part of the steps; a run that was stopped goes on from files in `folder`.

    Args:
        problem: of the search.
        recovered: the trial's model, to compare with.
        plan: of the trial.
        trial: says which criterion orders the units.
        length: of all rounds together, such as ``"5epochs"``.
        rounds: 2 to :data:`MOST_ROUNDS`.
        folder: for checkpoints.
        listener: receives progress.

    Raises:
        ConfigError: for a number or length that cannot be used, masks, or a model that cannot be cut twice.
    """
    if not 2 <= rounds <= MOST_ROUNDS:
        raise ConfigError(f"gradual {rounds}: give 2 to {MOST_ROUNDS} rounds, or leave it out")
    structure = problem.pruning.structure
    if not isinstance(plan, Plan) or not isinstance(structure, Structure):
        raise ConfigError("masks are not cut in rounds: leave --gradual out")
    if plan.depth:
        raise ConfigError("a plan that takes whole blocks out is not cut in rounds: leave --gradual out")
    steps = steps_of(length, problem.data.train, problem.config.batch_size)
    if steps < rounds:
        raise ConfigError(f"{steps} steps are too few for {rounds} rounds: give a longer --finetune")
    mixture = mixture_of(trial.user_attrs)
    ranking = (
        next(iter(problem.pruning.rankings.values()))
        if mixture is None
        else mixture.ranking(problem.pruning.rankings)
    )
    before = finalist_quality(problem, recovered)
    model, kept = problem.pruning.origin.model, {g.name: tuple(range(g.width)) for g in structure.groups}
    for number, keep in enumerate(units_by_round(structure, plan, ranking, rounds), start=1):
        model = _cut(problem, model, structure, kept, keep)
        kept = keep
        share = steps // rounds if number < rounds else steps - (rounds - 1) * (steps // rounds)
        train_on(problem, model, plan, share, folder, listener, f"round {number} of {rounds}")
    return model, LongerRecovery.of(
        problem, model, f"cut again in {rounds} rounds of {steps} steps", steps, before
    )


def units_by_round(
    structure: Structure, plan: Plan, ranking: Ranking, rounds: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    """The units of every group that stay after each round: ever fewer, at last those of the plan."""
    full = structure.widths
    final = {name: plan.keep.get(name, tuple(range(width))) for name, width in full.items()}
    for number in range(1, rounds + 1):
        gone = 1 - (1 - number / rounds) ** 3
        keep = {}
        for name, units in final.items():
            spared = full[name] - len(units) - round(gone * (full[name] - len(units)))
            order = ranking.scores[name].argsort(descending=True, stable=True).tolist()
            waiting = [unit for unit in order if unit not in set(units)][:spared]
            keep[name] = tuple(sorted([*units, *waiting]))
        yield keep


def _cut(
    problem: Problem,
    model: nn.Module,
    structure: Structure,
    before: Mapping[str, tuple[int, ...]],
    keep: Mapping[str, tuple[int, ...]],
) -> nn.Module:
    """The repaired model that keeps the units of `keep`; the model itself where it had no others `before`."""
    if all(keep[name] == units for name, units in before.items()):
        return copy.deepcopy(model) if model is problem.pruning.origin.model else model
    if model is not problem.pruning.origin.model:
        structure = _rediscover(problem, model, before)
    # Units have other numbers in a model that was cut.
    places = {name: {unit: place for place, unit in enumerate(units)} for name, units in before.items()}
    relative = {
        name: tuple(places[name][unit] for unit in keep[name])
        for name, units in before.items()
        if len(keep[name]) < len(units)
    }
    plan = Plan.of(structure, relative)
    pruned = apply(model, plan, structure)
    replace(problem.recovery.repair, model=model, structure=structure)(pruned, plan)
    return pruned


def _rediscover(problem: Problem, model: nn.Module, kept: Mapping[str, tuple[int, ...]]) -> Structure:
    """What can be cut in a model that was cut before. Raises ConfigError where that is something else."""
    try:
        structure = discover_for(problem.config, model, (problem.subject.example,))
    except ModelError as error:
        raise ConfigError(f"the cut model cannot be cut again ({error}): leave --gradual out") from error
    # A group of one unit has nothing more to lose, and may be frozen.
    lost = next((n for n, units in kept.items() if structure.widths.get(n, 1) != len(units)), None)
    if lost is not None:
        raise ConfigError(f"the group {lost!r} cannot be cut a second time: leave --gradual out")
    return structure
