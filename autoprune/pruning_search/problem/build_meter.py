"""From settings to what a candidate costs: limits, measured and predicted latency."""

from __future__ import annotations

from autoprune.config.budget import Budget
from autoprune.config.granularity import UNITS
from autoprune.config.settings import Config
from autoprune.cost import Meter, Setting
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.budget_model import BudgetModel
from autoprune.pruning_search.problem.latency import latency_step_widths, profile_of, setting_of, timing_batch
from autoprune.pruning_search.problem.pruning import Pruning
from autoprune.pruning_search.problem.subject.subject import SearchSubject


def timing_setting(config: Config, original_seconds: float | None) -> Setting | None:
    """How candidates are timed; None where they are not. Masks leave latency as it is.

    Raises ConfigError or MissingExtraError when this machine has no such runtime.
    """
    timed = config.latency and config.granularity == UNITS and original_seconds is None
    return setting_of(config) if timed else None


def build_meter(subject: SearchSubject, config: Config, setting: Setting | None) -> Meter | None:
    """Times candidates against the original model; None without a setting."""
    if setting is None:
        return None
    batch = timing_batch(config, subject.example)
    return Meter(subject.model, batch, setting)


def build_budget_model(
    subject: SearchSubject,
    pruning: Pruning,
    budget: Budget,
    meter: Meter | None,
    original_seconds: float | None,
) -> BudgetModel:
    """What candidates cost; the original model is timed where there is a meter.

    `original_seconds` is its latency where there is none.
    """
    latency = original_seconds if meter is None else meter.reference_seconds()
    profile = None if meter is None else profile_of(meter, pruning)
    costs = pruning.costs.original(subject.model)
    return BudgetModel(budget, pruning, costs, latency, profile, latency_step_widths(pruning, profile))


def check_limits(budget: Budget, config: Config) -> None:
    """Raise ConfigError for a limit on what this way to prune does not change or measure."""
    if config.granularity == UNITS:
        if budget.limit("nonzero"):
            raise ConfigError("a nonzero budget is for masks: give --granularity weights, or params=20%")
        if budget.limit("latency") and not config.latency:
            raise ConfigError("a latency budget needs latency to be measured: leave out --no-latency")
        return
    fixed = next((what for what in ("flops", "params", "latency") if budget.limit(what)), None)
    if fixed is not None:
        raise ConfigError(
            f"masks leave {fixed} as it is, for tensors keep their shapes: give nonzero=20% or size=30%"
        )
