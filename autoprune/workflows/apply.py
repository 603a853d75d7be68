"""Applying a cut without a search: one plan, made or given, recovered and exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.config.budget import parse_budget
from autoprune.config.granularity import UNITS, is_n_of_m
from autoprune.config.references import LearnedFile
from autoprune.config.settings import Config
from autoprune.cost import Costs, MaskCosts
from autoprune.criteria.learned import Allowed, read_criterion
from autoprune.errors import ConfigError, UserError
from autoprune.export import Card, ExportCandidate, Exported, Numbers, default_formats, export_candidate
from autoprune.pruning_search import Problem, classes_of, prepare
from autoprune.pruning_search.evaluation.evaluate import evaluate_candidate
from autoprune.pruning_search.persistence.trial_record import latency_attributes
from autoprune.pruning_search.problem.build_pruning import pruning_of
from autoprune.pruning_search.problem.latency import (
    latency_step_widths,
    profile_for,
)
from autoprune.pruning_search.problem.pruning import Origin, Prunable, Pruning
from autoprune.pruning_search.problem.subject.configured_model import model_spec
from autoprune.pruning_search.problem.width_grid import grids_of
from autoprune.pruning_search.proposals.learned_criterion import read_configured
from autoprune.pruning_search.proposals.sensitivity import AT_BUDGET, measure_curves
from autoprune.structure import Plan
from autoprune.structure.masks import MaskPlan
from autoprune.structure.plans import AnyPlan, Widths, read_plan
from autoprune.study.listener import Listener
from autoprune.tasks import weights_hash
from autoprune.utils.untrusted import read_text
from autoprune.workflows.budget_cut import Within, widths_within
from autoprune.workflows.inspect import model_and_inputs
from autoprune.workflows.prune import Selection, checked_scope

Cut = Selection | Within | AnyPlan | None


@dataclass(frozen=True, eq=False)
class Request:
    """What to cut and what to do with the result.

    Attributes:
        cut: which units go; None for an N:M mask, which says so itself.
        inputs: texts that say what the model takes, where no data is given.
        validate: whether to measure quality and latency before and after.
        to: folder to write to.
        formats: export formats; None for all that are installed.
    """

    cut: Cut
    inputs: tuple[str, ...]
    validate: bool
    to: Path
    formats: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Applied:
    """A cut that was made: numbers before and after, and the files."""

    card: Card
    exported: tuple[Exported, ...]


def apply_cut(config: Config, request: Request, listener: Listener) -> Applied:
    """Cut the configured model once and export it.

    With data the weights are compensated, the BatchNorm statistics are recalibrated, and ``finetune_steps``
    are taken if any are configured; without data the weights that stay are the given ones.

    Raises:
        UserError: when model, weights, data and cut do not go together.
        ExportError: when a file differs from the model.
    """
    with_data = config.data is not None
    if request.inputs and with_data:
        raise ConfigError("give --input or --data, not both")
    if not with_data and (request.validate or config.finetune_steps):
        raise ConfigError("validation and fine-tuning need data: give --data")
    if isinstance(request.cut, Plan | MaskPlan):
        config = _settings_of(request.cut, config)
    elif isinstance(request.cut, Within):
        config = _settings_learned_with(config)
    candidate, card = (_with_data if with_data else _without_data)(config, request, listener)
    listener.phase("export", str(request.to))
    formats = default_formats() if request.formats is None else request.formats
    exported = export_candidate(candidate, card, config.to_toml(), request.to, formats)
    return Applied(card, exported)


def cut_of(
    config: Config, plan: Path | None, sparsity: float | None, threshold: float | None, scope: str
) -> Cut:
    """What to cut, said in exactly one way; an N:M granularity is one.

    Raises:
        UserError: when it is said in no way or in several, or the plan's file cannot be read.
        PlanError: when the file holds no plan, or a number is out of range.
    """
    ways = sum(choice is not None for choice in (plan, sparsity, threshold, config.budget or None))
    if ways == 0 and is_n_of_m(config.granularity):
        return None
    if ways == 1 and is_n_of_m(config.granularity) and plan is None:
        raise UserError(f"granularity {config.granularity} already sets how much stays: give no other number")
    if ways != 1:
        raise UserError("give one of --plan FILE, --sparsity 0.5, --threshold 0.8 or --budget flops=50%")
    if config.budget:
        return Within(parse_budget(config.budget), checked_scope(scope))
    if plan is None:
        return Selection(sparsity, threshold, scope)  # type: ignore[arg-type]
    return read_plan(read_text(plan, "plan", UserError))


def _settings_of(plan: AnyPlan, config: Config) -> Config:
    """The settings with what the plan says of them. Raises ConfigError for a granularity that is another."""
    granularity = plan.granularity if isinstance(plan, MaskPlan) else UNITS
    if "granularity" in config.model_fields_set and config.granularity != granularity:
        raise ConfigError(f"the plan is for granularity {granularity}: leave --granularity out")
    if isinstance(plan, MaskPlan):
        update: dict[str, object] = {"granularity": plan.granularity}
        return config.model_copy(update=update | ({"criterion": plan.criterion} if plan.criterion else {}))
    shared = "untie" if plan.untied else config.shared
    return config.model_copy(
        update={"depth": config.depth or plan.depth, "shared": shared, "attention": plan.attention}
    )


def _settings_learned_with(config: Config) -> Config:
    """The settings, with a learned criterion's own on what may be cut where none are given."""
    base = config.references.criterion.base
    if not isinstance(base, LearnedFile):
        return config
    allowed = read_criterion(Path(base.file)).allowed
    return config.model_copy(
        update={
            name: getattr(allowed, name)
            for name in Allowed.__dataclass_fields__
            if name not in config.model_fields_set
        }
    )


def _plan_for(
    pruning: Pruning, origin: Origin, cut: Cut, listener: Listener, problem: Problem | None = None
) -> AnyPlan:
    """The plan that was given, or the one that keeps what is selected. PlanError if it does not fit.

    With a problem, the curves of a learned criterion are measured again.
    """
    if isinstance(cut, Within):
        plan = pruning.plan(_widths_within(pruning, origin, cut, listener, problem))
        pruning.widths(plan)
        return plan
    if not isinstance(cut, Plan | MaskPlan):
        ranking = pruning.rankings[origin.config.criterion]
        wanted = cut.widths(ranking) if cut else {g.name: g.least for g in pruning.structure.groups}
        plan = pruning.plan(pruning.structure.widths | _on_grid(origin.config, pruning.structure, wanted))
        pruning.widths(plan)
        return plan
    widths = pruning.widths(cut)
    if not cut.weights or cut.weights == origin.weights:
        return cut
    listener.note("the plan was made for other weights: " + _OTHER_WEIGHTS[type(cut)])
    return cut if isinstance(cut, Plan) else pruning.plan(widths)


def _widths_within(
    pruning: Pruning, origin: Origin, within: Within, listener: Listener, problem: Problem | None
) -> Widths:
    """The widths within a budget, at the top edges of the device's steps where its profile is known."""
    config, curves = origin.config, None
    latency_steps = latency_step_widths(pruning, profile_for(origin, pruning.structure))
    if latency_steps and config.round_to == "auto":
        listener.note(f"using the widths that {config.runtime} runs best: give --round-to 1 for any width")
    if read_configured(config, pruning) is None:
        config = (
            config.model_copy(update={"min_density": _NO_LEAST_DENSITY}) if latency_steps else _exact(config)
        )
    elif problem is not None:
        budget_model = replace(problem.budget_model, latency_steps=latency_steps)
        problem = replace(problem, budget_model=budget_model)
        curves = measure_curves(problem, listener, context=AT_BUDGET)
    grids = grids_of(pruning.structure, config, latency_steps)
    return widths_within(within, origin.config, pruning, pruning.costs.original(origin.model), grids, curves)


_OTHER_WEIGHTS = {
    Plan: "the same units are removed from these",
    MaskPlan: "the same number of units is masked, chosen by its criterion on these",
}


def _with_data(config: Config, request: Request, listener: Listener) -> tuple[ExportCandidate, Card]:
    problem = prepare(
        config.model_copy(
            update={
                "latency": config.latency and request.validate,
                "finetune_steps": config.finetune_steps or 0,
                # One cut is no choice among many: all samples judge it.
                "holdout_share": 0.0,
            }
        ),
        listener,
    )
    plan = _plan_for(problem.pruning, problem.pruning.origin, request.cut, listener, problem)
    widths = problem.pruning.widths(plan)
    listener.phase("cut", _extent(config, problem.structure.widths, widths))
    made = evaluate_candidate(problem, widths, plan)
    latency = made.latency
    before = _numbers(
        problem.budget_model.original_costs,
        quality=problem.subject.baseline.score.value if request.validate else None,
        latency_ms=None if latency is None else latency.reference_seconds * 1e3,
    )
    timed = {}
    if latency is not None:
        timed = latency_attributes(problem, latency) | {"latency_ms": latency.seconds * 1e3}
    after = _numbers(made.costs, quality=made.score.value if request.validate else None, **timed)
    card = Card(
        title=problem.subject.name,
        metric=problem.data.task.metric,
        data=problem.data.name,
        weights=problem.subject.weights,
        before=before,
        after=after,
        widths=_widths(problem.structure, widths),
        device="" if latency is None else str(latency.fingerprint),
        granularity=_masked(plan),
    )
    candidate = ExportCandidate(
        model=made.model,
        plan=plan,
        base=problem.model,
        spec=problem.subject.name,
        classes=classes_of(problem.data),
        example=problem.data.example(4),
    )
    return candidate, card


def _without_data(config: Config, request: Request, listener: Listener) -> tuple[ExportCandidate, Card]:
    name = model_spec(config)
    listener.phase("structure", name)
    model, inputs = model_and_inputs(config, request.inputs, listener)
    if config.weights is None:
        listener.note(f"{name} has random weights: give --weights to prune a trained model")
    origin = Origin(model, name, weights_hash(model), _only(inputs), (), None, config)
    pruning = pruning_of(origin, listener)
    plan = _plan_for(pruning, origin, request.cut, listener)
    widths = pruning.widths(plan)
    card = Card(
        title=name,
        metric="",
        data="",
        weights=origin.weights,
        before=_numbers(pruning.costs.original(model)),
        after=_numbers(pruning.costs.costs(widths)),
        widths=_widths(pruning.structure, widths),
        granularity=_masked(plan),
    )
    return ExportCandidate(pruning.cut(plan), plan, model, name, None, origin.example), card


def _masked(plan: AnyPlan) -> str:
    return plan.granularity if isinstance(plan, MaskPlan) else ""


def _only(inputs: tuple[Tensor, ...]) -> Tensor:
    if len(inputs) != 1:
        raise ConfigError("models with several inputs cannot be exported yet: use autoprune.prune in Python")
    return inputs[0]


def _extent(config: Config, full: Mapping[str, int], widths: Mapping[str, int]) -> str:
    if config.granularity != UNITS:
        return config.granularity
    return f"{sum(full.values()) - sum(widths.values())} of {sum(full.values())} units"


def _on_grid(config: Config, structure: Prunable, widths: dict[str, int]) -> dict[str, int]:
    """The widths within the bounds; on multiples only where the settings ask for them."""
    grids = grids_of(structure, _exact(config))
    return {name: grids[name].nearest(width) for name, width in widths.items()}


def _exact(config: Config) -> Config:
    """Settings whose grids have every width within the bounds, unless they ask for multiples."""
    update: dict[str, object] = {"min_density": _NO_LEAST_DENSITY}
    if config.round_to == "auto":
        update["round_to"] = 1
    return config.model_copy(update=update)


_NO_LEAST_DENSITY = 1e-9
"""The share that a search leaves everywhere is none of a request that says itself how much stays."""


def _numbers(costs: Costs, **measured: Any) -> Numbers:
    if isinstance(costs, MaskCosts):
        measured |= {"nonzero": costs.nonzero, "effective_multiply_adds": costs.effective_multiply_adds}
    return Numbers(costs.flops, costs.parameters, costs.size, **measured)


def _widths(structure: Prunable, after: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (width, after[name]) for name, width in structure.widths.items()}
