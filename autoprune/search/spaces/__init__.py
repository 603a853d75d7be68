"""How a trial's parameters become widths, one space a file."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.search.allocator import Curve
from autoprune.search.levels import FLOOR
from autoprune.search.problem import Problem
from autoprune.search.samplers import FEW_GROUPS
from autoprune.search.spaces.base import Space
from autoprune.search.spaces.criterion import CriterionSpace
from autoprune.search.spaces.sparsity import SparsitySpace


def space_name(problem: Problem) -> str:
    """The configured space, where ``auto`` is one of the others.

    Widths themselves lead where a Gaussian process searches them; of many groups each draw would be poor, and
    coefficients of the allocator begin with good plans. See ``studies/samplers`` and ``studies/benchmarks``.
    """
    if problem.config.space != "auto":
        return problem.config.space
    few = len(problem.structure.groups) <= FEW_GROUPS
    return "sparsity" if few and problem.config.coefficients != "affine" else "criterion"


def make_space(problem: Problem, curves: Mapping[str, Curve], floor: float = FLOOR) -> Space:
    """The configured space.

    Args:
        problem: what is pruned.
        curves: the sensitivity curves of all groups.
        floor: the share of the budget below which nothing is suggested.
    """
    if space_name(problem) == "sparsity":
        return SparsitySpace(problem, floor)
    return CriterionSpace(problem, curves, floor)


__all__ = [
    "CriterionSpace",
    "Space",
    "SparsitySpace",
    "make_space",
    "space_name",
]
