"""The search: widths suggested by Optuna, each candidate cut, priced, recovered and scored."""

from autoprune.pruning_search.finish.finalists import rank_finalists
from autoprune.pruning_search.finish.test_front import recovered_differently, test_front, trial_model
from autoprune.pruning_search.persistence.device_change import settled_problem
from autoprune.pruning_search.persistence.study import ATTRIBUTE, check_continues, create_study
from autoprune.pruning_search.problem.prepare import prepare
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.subject.configured_model import classes_of
from autoprune.pruning_search.run import run

__all__ = [
    "ATTRIBUTE",
    "Problem",
    "check_continues",
    "classes_of",
    "create_study",
    "prepare",
    "rank_finalists",
    "recovered_differently",
    "run",
    "settled_problem",
    "test_front",
    "trial_model",
]
