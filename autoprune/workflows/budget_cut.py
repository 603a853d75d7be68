"""Cutting once to what a budget allows, without a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.config.budget import Budget
from autoprune.config.settings import Config
from autoprune.cost import Costs
from autoprune.criteria import Ranking
from autoprune.criteria.curve import Curve
from autoprune.criteria.selection import Scope, ranked_widths
from autoprune.errors import BudgetError, ConfigError
from autoprune.pruning_search.problem.budget_fit import fill, largest
from autoprune.pruning_search.problem.budget_model import CLOSED_FORM
from autoprune.pruning_search.problem.pruning import Pruning
from autoprune.pruning_search.problem.width_grid import AnyGrid
from autoprune.pruning_search.proposals.learned_criterion import allocate, read_configured
from autoprune.structure.plans import Widths

COUNTED = ("flops", "params", "size", "nonzero")
"""The limits that a cut can meet without running the model."""


@dataclass(frozen=True)
class Within:
    """As much of a model as a budget allows.

    Attributes:
        budget: limits on FLOPs, parameters, size or non-zeros.
        scope: whether every group keeps the same share of its units (``local``), or the units of the whole
            model compete (``global``). A learned criterion says itself what each group keeps.

    Raises:
        ConfigError: for a budget that says nothing of the model, or more than can be counted.
    """

    budget: Budget
    scope: Scope = "local"

    def __post_init__(self) -> None:
        if not self.budget.limits or self.budget.seconds is not None or self.budget.trials is not None:
            raise ConfigError("without a search, only model limits are allowed: flops=35%")
        other = next((limit.what for limit in self.budget.limits if limit.what not in COUNTED), None)
        if other is not None:
            raise ConfigError(
                f"without a search, only flops, params and size are allowed: for {other} use search"
            )

    def limits(self, original: Costs) -> dict[str, float]:
        """Budget name -> the most that the model may cost."""
        costs = {what: float(getattr(original, field, 0.0)) for what, field in CLOSED_FORM.items()}
        return {limit.what: limit.absolute(costs[limit.what]) for limit in self.budget.limits}


def widths_within(
    within: Within,
    config: Config,
    pruning: Pruning,
    original: Costs,
    grids: Mapping[str, AnyGrid],
    curves: Mapping[str, Curve] | None = None,
) -> Widths:
    """The widths within a budget by the configured criterion.

    Args:
        within: the budget.
        config: the settings, which name the criterion.
        pruning: the model.
        original: its costs.
        grids: group -> the widths that may be chosen. Where these are far apart, as the steps of a device
            are, groups that got less than the budget allows them are widened as far as it goes.
        curves: sensitivity curves measured now; None where a learned criterion brings its own.

    Raises:
        BudgetError: when no plan is within the budget.
        CriterionError: for a learned criterion of another model.
    """
    limits = within.limits(original)
    learned = read_configured(config, pruning)
    if learned is not None:
        return allocate(learned, pruning, limits, grids, curves)
    ranking, full = pruning.rankings[config.criterion], pruning.structure.widths

    def affordable(widths: Widths) -> bool:
        costs = pruning.costs.costs(widths)
        return all(getattr(costs, CLOSED_FORM[what]) <= limit for what, limit in limits.items())

    def kept(share: float) -> Widths:
        return {name: max(1, count) for name, count in _counts(ranking, within.scope, share, pruning).items()}

    def on_grid(share: float) -> Widths:
        return full | {name: grids[name].nearest(count) for name, count in kept(share).items()}

    wanted = full | largest(lambda share: full | kept(share), affordable)
    found = largest(on_grid, affordable)
    if not affordable(found):
        raise BudgetError("no plan is within the budget: raise it, or lower the bounds")
    short = {name: grids[name] for name in ranking.scores if found[name] < wanted[name]}
    return fill(found, wanted, short, affordable)


def _counts(ranking: Ranking, scope: Scope, share: float, pruning: Pruning) -> dict[str, int]:
    """About that share of all units, of each group or of the whole model; blocks stay."""
    if scope == "global":
        return ranked_widths(ranking)(share)
    full = pruning.structure.widths
    return {name: round(share * full[name]) for name in ranking.scores}
