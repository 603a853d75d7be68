"""How a trial's parameters become widths, one space a file."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.search.allocator import Curve
from autoprune.search.problem import Problem
from autoprune.search.spaces.base import Space
from autoprune.search.spaces.criterion import CriterionSpace
from autoprune.search.spaces.offset import OffsetSpace
from autoprune.search.spaces.sparsity import SparsitySpace


def make_space(problem: Problem, curves: Mapping[str, Curve]) -> Space:
    """The configured space; `curves` are the sensitivity curves of all groups."""
    if problem.config.space == "sparsity":
        return SparsitySpace(problem)
    if problem.config.space == "offset":
        return OffsetSpace(problem)
    return CriterionSpace(problem, curves)


__all__ = ["CriterionSpace", "OffsetSpace", "Space", "SparsitySpace", "make_space"]
