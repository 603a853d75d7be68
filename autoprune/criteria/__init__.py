"""Importance of units: who may go first within a group."""

from autoprune.criteria import magnitude as _magnitude  # noqa: F401  (registers its criteria)
from autoprune.criteria import random as _random  # noqa: F401
from autoprune.criteria import taylor as _taylor  # noqa: F401
from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.ranking import Ranking, ranking
from autoprune.criteria.registry import criterion, names, register, score_units

__all__ = ["Context", "Criterion", "Ranking", "criterion", "names", "ranking", "register", "score_units"]
