"""A first front without training: the plans that are trained first are shown before that.

Training a candidate takes most of what it costs. A plan that is cut, compensated and fitted layer by layer
is a usable model after a few seconds, and a few of them make a front, which training then improves.
"""

from __future__ import annotations

from autoprune.pruning_search.problem.problem import Problem
from autoprune.structure import Structure

LONG = 5e11
"""Multiply-adds of training one candidate from which on previews pay: some ten seconds of one CPU core."""
SAMPLES = 128
"""Samples of the selection split on which the curves for previews are measured."""
PASSES = 3
"""What a step costs, in forward passes."""


def is_previewed(problem: Problem) -> bool:
    """Whether the first plans are scored without training before they are trained."""
    recipe, config = problem.recovery.recipe, problem.config
    if recipe is None or not config.compensate or not isinstance(problem.structure, Structure):
        return False
    if config.preview == "auto":
        return PASSES * recipe.steps * recipe.batch_size * problem.budget_model.original_costs.flops >= LONG
    return config.preview == "always"
