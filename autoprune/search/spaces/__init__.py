"""How a trial's parameters become widths, one space a file."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.search.allocator import Curve
from autoprune.search.problem import Problem
from autoprune.search.spaces.base import Space
from autoprune.search.spaces.criterion import CriterionSpace
from autoprune.search.spaces.offset import OffsetSpace
from autoprune.search.spaces.sparsity import SparsitySpace

FEW_GROUPS = 4
"""Fewer groups than these leave an allocator hardly a choice, whatever the coefficients."""


def make_space(problem: Problem, curves: Mapping[str, Curve]) -> Space:
    """The configured space; `curves` are the sensitivity curves of all groups."""
    name = problem.config.space
    if name == "auto":
        name = "offset" if len(problem.structure.groups) < FEW_GROUPS else "criterion"
    if name == "sparsity":
        return SparsitySpace(problem)
    return OffsetSpace(problem) if name == "offset" else CriterionSpace(problem, curves)


__all__ = ["FEW_GROUPS", "CriterionSpace", "OffsetSpace", "Space", "SparsitySpace", "make_space"]
