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


def space_name(problem: Problem) -> str:
    """The configured space, where ``auto`` is one of the others."""
    if problem.config.space != "auto":
        return problem.config.space
    return "offset" if len(problem.structure.groups) < FEW_GROUPS else "criterion"


def make_space(problem: Problem, curves: Mapping[str, Curve]) -> Space:
    """The configured space; `curves` are the sensitivity curves of all groups."""
    name = space_name(problem)
    if name == "sparsity":
        return SparsitySpace(problem)
    return OffsetSpace(problem) if name == "offset" else CriterionSpace(problem, curves)


__all__ = [
    "FEW_GROUPS",
    "CriterionSpace",
    "OffsetSpace",
    "Space",
    "SparsitySpace",
    "make_space",
    "space_name",
]
