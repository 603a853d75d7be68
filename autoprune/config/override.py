"""Settings on top of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.config.budget import merged_budgets
from autoprune.config.settings import Config, load_config


def overridden(base: Config, settings: Mapping[str, Any]) -> Config:
    """The settings with others in their place; a setting of None counts as not given.

    As with a study file, a limit of the budget replaces the one on the same cost and leaves the others.

    Raises:
        ConfigError: an unknown setting, or a value out of bounds.
        BudgetError: a budget that cannot be read.
    """
    # Before anything is merged: a mistake is one of these settings.
    given = load_config(None, settings)
    merged = base.model_dump(include=base.model_fields_set)
    merged |= {name: value for name, value in settings.items() if value is not None}
    if base.budget and given.budget:
        merged["budget"] = merged_budgets(base.budget, given.budget)[0]
    return load_config(None, merged)
