"""What a study learned, as a criterion of its own: from a trial to the file, and from the file to widths."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from autoprune.config.references import LearnedFile
from autoprune.config.settings import Config
from autoprune.criteria.curve import Curve
from autoprune.criteria.learned import (
    SCHEMA,
    Allowed,
    LearnedCriterion,
    LearnedGroup,
    Provenance,
    read_criterion,
)
from autoprune.criteria.mixture import SPARSIFIED
from autoprune.errors import BudgetError, StudyError
from autoprune.pruning_search.problem.criterion_choice import ranked_groups
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.pruning import Prunable, Pruning
from autoprune.pruning_search.problem.width_grid import AnyGrid, widths_of
from autoprune.pruning_search.proposals.allocation_costs import closed_form
from autoprune.pruning_search.proposals.allocator import AllocationTask, Greedy
from autoprune.pruning_search.proposals.sensitivity import curves_of
from autoprune.pruning_search.proposals.spaces import CriterionSpace
from autoprune.structure import Structure
from autoprune.structure.plans import Widths
from autoprune.study.attributes import FLOPS_RATIO, MIXTURE, ORIGIN, SENSITIVITY, WIDTHS
from autoprune.study.explanation import coefficients
from autoprune.study.front import estimate_of, summary
from autoprune.study.origins import SAMPLER
from autoprune.study.record import study_record

PACKAGES = ("autoprune", "torch", "optuna")
ALLOWED = tuple(Allowed.__dataclass_fields__)
"""Settings that a learned criterion keeps."""


def learn(problem: Problem, study: optuna.Study, trial: FrozenTrial) -> LearnedCriterion:
    """The criterion that gives the trial's plan at what that costs, and plans like it at other costs.

    A trial that the sampler suggested with coefficients has them as they are. The allocator's own plans have
    none but 1; to any other plan belong those at which it is where the allocator would stop.

    Raises:
        StudyError: for a trial without widths, of masks, or of a study that has no sensitivity curves.
    """
    number = trial.number
    if not isinstance(problem.structure, Structure):
        raise StudyError(f"study {study.study_name!r} masks weights: a criterion is learned where units go")
    points = study.user_attrs.get(SENSITIVITY, {}).get("points", {})
    if not set(problem.structure.widths) <= set(points):
        raise StudyError(f"study {study.study_name!r} has no sensitivity curves yet: search first")
    if WIDTHS not in trial.user_attrs or not trial.values:
        raise StudyError(f"trial {number} was not evaluated: choose one that `autoprune front` lists")
    scales, shifts = coefficients(study_record(study), trial)
    if not scales:
        scales = CriterionSpace(problem, curves_of(problem.budget_model, points)).scales(
            trial.user_attrs[WIDTHS]
        )
    weights = _weights(problem, trial)
    groups = {
        name: LearnedGroup(
            width=full,
            weights=weights.get(name, {}),
            losses={int(width): loss for width, loss in points[name].items()} or {full: 0.0},
            scale=scales[name],
            shift=shifts.get(name, 0.0),
        )
        for name, full in problem.structure.widths.items()
    }
    allowed = Allowed(**{name: getattr(problem.config, name) for name in ALLOWED})
    return LearnedCriterion(SCHEMA, groups, _provenance(problem, study, trial), allowed)


def _weights(problem: Problem, trial: FrozenTrial) -> dict[str, dict[str, float]]:
    """Group -> criterion -> weight, by names that mean something without this search."""
    sparse = problem.pruning.origin.sparse
    weights = trial.user_attrs.get(MIXTURE)
    if weights is None and problem.pruning.origin.sparse_ranks:
        weights = {name: {SPARSIFIED: 1.0} for name in ranked_groups(problem.structure)}
    if weights is None:
        return configured_weights(problem.config, problem.structure)
    if sparse is None:
        return dict(weights)
    return {
        group: {sparse.criterion if name == SPARSIFIED else name: weight for name, weight in row.items()}
        for group, row in weights.items()
    }


def configured_weights(config: Config, structure: Prunable) -> dict[str, dict[str, float]]:
    """Group -> criterion -> weight where trials choose nothing; a learned criterion is taken apart."""
    names, base = ranked_groups(structure), config.references.criterion.base
    if not isinstance(base, LearnedFile):
        return {name: {config.criterion: 1.0} for name in names}
    before = read_criterion(Path(base.file))
    return {name: dict(before.groups[name].weights) for name in names}


def allocate(
    learned: LearnedCriterion,
    pruning: Pruning,
    limits: Mapping[str, float],
    grids: Mapping[str, AnyGrid],
    curves: Mapping[str, Curve] | None = None,
) -> Widths:
    """The widths within these limits that lose least by the learned criterion.

    Args:
        learned: what a search found out about these groups.
        pruning: the model to cut.
        limits: budget name -> FLOPs, parameters or bytes.
        grids: group -> the widths that may be chosen.
        curves: measured again; None for those that the criterion brings.

    Raises:
        BudgetError: when no plan is within the limits.
    """
    full = pruning.structure.widths
    if curves is None:
        offered = {
            name: [width for width in widths_of(grids[name]) if width >= learned.narrowest(name)]
            or [full[name]]
            for name in full
        }
        curves = learned.curves(offered)
    curves = learned.weighted({name: curves[name] for name in full})
    allocation = Greedy(AllocationTask(curves, closed_form(pruning.costs, limits, list(full)))).at(1.0)
    if allocation.spent > 1:
        raise BudgetError(
            f"no plan of this criterion is within the budget: the narrowest one needs "
            f"{allocation.spent:.0%} of it; raise the budget, or lower --min-density"
        )
    return allocation.widths


def read_configured(config: Config, pruning: Pruning) -> LearnedCriterion | None:
    """The learned criterion that the settings name, checked against the model; None for another kind."""
    base = config.references.criterion.base
    if not isinstance(base, LearnedFile):
        return None
    learned = read_criterion(Path(base.file))
    learned.check(pruning.structure.widths, base.file)
    return learned


def _provenance(problem: Problem, study: optuna.Study, trial: FrozenTrial) -> Provenance:
    numbers = summary(study)
    return Provenance(
        model=problem.subject.name,
        weights=problem.subject.weights,
        data=problem.data.name,
        budget=tuple(str(limit) for limit in problem.budget.limits),
        study=study.study_name,
        trial=trial.number,
        origin=str(trial.user_attrs.get(ORIGIN, SAMPLER)),
        metric=numbers.metric,
        quality=float(np.round(estimate_of(study, trial).quality, 6)),
        original_quality=float(np.round(numbers.baseline.quality, 6)),
        flops_ratio=trial.user_attrs[FLOPS_RATIO],
        seed=problem.config.seed,
        versions={package: version(package) for package in PACKAGES},
    )
