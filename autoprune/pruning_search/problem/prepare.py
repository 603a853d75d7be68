"""From settings to a problem."""

from __future__ import annotations

from torch import nn

from autoprune.config.budget import parse_budget
from autoprune.config.settings import Config
from autoprune.pruning_search.problem.budget_fit import check_reachable
from autoprune.pruning_search.problem.build_meter import (
    build_budget_model,
    build_meter,
    check_limits,
    timing_setting,
)
from autoprune.pruning_search.problem.build_pruning import build_pruning
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.subject.load import load_subject
from autoprune.study.listener import Listener
from autoprune.tasks import Data
from autoprune.tasks.devices import device_named


def prepare(
    config: Config,
    listener: Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
    original_seconds: float | None = None,
) -> Problem:
    """Everything that a search needs; `model` and `data` take the place of the configured ones.

    With `original_seconds`, the original model's latency, nothing is timed.

    Raises:
        UserError: when model, weights, data, criterion and budget do not go together.
    """
    budget, device = parse_budget(config.budget), device_named(config.device)
    check_limits(budget, config)
    setting = timing_setting(config, original_seconds)
    subject = load_subject(config, device, listener, model=model, data=data)
    pruning = build_pruning(subject, config, listener)
    meter = build_meter(subject, config, setting)
    budget_model = build_budget_model(subject, pruning, budget, meter, original_seconds)
    check_reachable(budget_model)
    return Problem(config, subject, pruning, budget_model, meter)
