"""Importance of units: who may go first within a group."""

from autoprune.criteria import magnitude as _magnitude  # noqa: F401  (registers its criteria)
from autoprune.criteria import random as _random  # noqa: F401
from autoprune.criteria import taylor as _taylor  # noqa: F401
from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.blocks import block_importance
from autoprune.criteria.masks import MASK_CRITERIA, MaskScores, score_masks
from autoprune.criteria.ranking import Ranking, ranking
from autoprune.criteria.registry import criterion, names, register, score_units

__all__ = [
    "MASK_CRITERIA",
    "Context",
    "Criterion",
    "MaskScores",
    "Ranking",
    "block_importance",
    "criterion",
    "names",
    "ranking",
    "register",
    "score_masks",
    "score_units",
]
