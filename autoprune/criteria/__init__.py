"""Importance of units: who may go first within a group."""

from autoprune.criteria import activity as _activity  # noqa: F401  (these register their criteria)
from autoprune.criteria import entropy as _entropy  # noqa: F401
from autoprune.criteria import fisher as _fisher  # noqa: F401
from autoprune.criteria import geometric as _geometric  # noqa: F401
from autoprune.criteria import gradient as _gradient  # noqa: F401
from autoprune.criteria import hessian as _hessian  # noqa: F401
from autoprune.criteria import hrank as _hrank  # noqa: F401
from autoprune.criteria import magnitude as _magnitude  # noqa: F401
from autoprune.criteria import random as _random  # noqa: F401
from autoprune.criteria import redundancy as _redundancy  # noqa: F401
from autoprune.criteria import robustness as _robustness  # noqa: F401
from autoprune.criteria import scales as _scales  # noqa: F401
from autoprune.criteria import snip as _snip  # noqa: F401
from autoprune.criteria import taylor as _taylor  # noqa: F401
from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.blocks import block_importance
from autoprune.criteria.masks import MASK_CRITERIA, MaskScores, score_masks
from autoprune.criteria.ranking import Ranking, ranking
from autoprune.criteria.registry import criterion, named_criterion, names, register
from autoprune.criteria.scoring import rankings, score_units

__all__ = [
    "MASK_CRITERIA",
    "Context",
    "Criterion",
    "MaskScores",
    "Ranking",
    "block_importance",
    "criterion",
    "named_criterion",
    "names",
    "ranking",
    "rankings",
    "register",
    "score_masks",
    "score_units",
]
