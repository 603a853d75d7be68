"""Importance of units: who may go first within a group."""

from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.ranking import Ranking, ranking
from autoprune.criteria.registry import criterion, named_criterion, names, register
from autoprune.criteria.scores import activity as _activity  # noqa: F401  (these register their criteria)
from autoprune.criteria.scores import entropy as _entropy  # noqa: F401
from autoprune.criteria.scores import fisher as _fisher  # noqa: F401
from autoprune.criteria.scores import geometric as _geometric  # noqa: F401
from autoprune.criteria.scores import gradient as _gradient  # noqa: F401
from autoprune.criteria.scores import hessian as _hessian  # noqa: F401
from autoprune.criteria.scores import hrank as _hrank  # noqa: F401
from autoprune.criteria.scores import magnitude as _magnitude  # noqa: F401
from autoprune.criteria.scores import random as _random  # noqa: F401
from autoprune.criteria.scores import redundancy as _redundancy  # noqa: F401
from autoprune.criteria.scores import robustness as _robustness  # noqa: F401
from autoprune.criteria.scores import scales as _scales  # noqa: F401
from autoprune.criteria.scores import snip as _snip  # noqa: F401
from autoprune.criteria.scores import taylor as _taylor  # noqa: F401
from autoprune.criteria.scores.blocks import block_importance
from autoprune.criteria.scores.masks import MASK_CRITERIA, MaskScores, score_masks
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
