"""The table of operator rules: what each ATen operator does to labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import fx

if TYPE_CHECKING:
    from autoprune.structure.propagation.propagate import Propagation

Rule = Callable[["Propagation", fx.Node], Any]

_RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of these ATen operators (in-place forms included)."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = function
        return function

    return register


def rule_for(kind: str) -> Rule | None:
    """The rule of an operator, or None where there is none."""
    return _RULES.get(kind)
