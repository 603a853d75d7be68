"""How a trial's parameters become widths, one space a file."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.search.allocator import Curve
from autoprune.search.levels import FLOOR
from autoprune.search.problem import Problem
from autoprune.search.spaces.base import Space
from autoprune.search.spaces.criterion import CriterionSpace
from autoprune.search.spaces.offset import OffsetSpace
from autoprune.search.spaces.sparsity import SparsitySpace

FEW_GROUPS = 4
"""Fewer groups than these leave an allocator hardly a choice, whatever the coefficients."""


def space_name(problem: Problem) -> str:
    """The configured space, where ``auto`` is one of the others."""
    if problem.config.space != "auto":
        return problem.config.space
    return "offset" if len(problem.structure.groups) < FEW_GROUPS else "criterion"


def make_space(problem: Problem, curves: Mapping[str, Curve], floor: float = FLOOR) -> Space:
    """The configured space.

    Args:
        problem: what is pruned.
        curves: the sensitivity curves of all groups.
        floor: the share of the budget below which nothing is suggested.
    """
    name = space_name(problem)
    if name == "sparsity":
        return SparsitySpace(problem, floor)
    return OffsetSpace(problem, floor) if name == "offset" else CriterionSpace(problem, curves, floor)


__all__ = [
    "FEW_GROUPS",
    "CriterionSpace",
    "OffsetSpace",
    "Space",
    "SparsitySpace",
    "make_space",
    "space_name",
]
