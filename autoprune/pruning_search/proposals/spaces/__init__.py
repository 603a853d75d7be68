"""How a trial's parameters become widths, one space a file."""

from __future__ import annotations

from collections.abc import Mapping

from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import FLOOR
from autoprune.pruning_search.proposals.spaces.base import Space
from autoprune.pruning_search.proposals.spaces.criterion import CriterionSpace
from autoprune.pruning_search.proposals.spaces.sparsity import SparsitySpace


def space_name(problem: Problem) -> str:
    """The configured space, where ``auto`` is one of the others.

    Once the allocator's own plans are known, plain widths lead, with few groups and with many: see
    ``studies/samplers``. Shifts are searched only where there are coefficients.
    """
    if problem.config.space != "auto":
        return problem.config.space
    return "criterion" if problem.config.coefficients == "affine" else "sparsity"


def make_space(problem: Problem, curves: Mapping[str, Curve], floor: float = FLOOR) -> Space:
    """The configured space.

    Args:
        problem: what is pruned.
        curves: the sensitivity curves of all groups.
        floor: the share of the budget below which nothing is suggested.
    """
    if space_name(problem) == "sparsity":
        return SparsitySpace(problem.budget_model, floor)
    return CriterionSpace(problem, curves, floor)


__all__ = [
    "CriterionSpace",
    "Space",
    "SparsitySpace",
    "make_space",
    "space_name",
]
