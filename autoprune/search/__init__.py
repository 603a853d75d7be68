"""The search: widths suggested by Optuna, each candidate cut, priced, healed and scored."""

from autoprune.search.devices import settled_problem
from autoprune.search.final import healed_otherwise, test_front, trial_model
from autoprune.search.finalists import rank_finalists
from autoprune.search.prepare import classes_of, prepare
from autoprune.search.problem import Baseline, Problem
from autoprune.search.start import run
from autoprune.search.study import ATTRIBUTE, check_continues, create_study

__all__ = [
    "ATTRIBUTE",
    "Baseline",
    "Problem",
    "check_continues",
    "classes_of",
    "create_study",
    "healed_otherwise",
    "prepare",
    "rank_finalists",
    "run",
    "settled_problem",
    "test_front",
    "trial_model",
]
