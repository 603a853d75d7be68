"""The search: widths suggested by Optuna, each candidate cut, priced, recovered and scored."""

from autoprune.pruning_search.finish.finalists import rank_finalists
from autoprune.pruning_search.finish.test_front import describe_other_weights, test_front, trial_model
from autoprune.pruning_search.persistence.device_change import continue_on_device
from autoprune.pruning_search.persistence.study import check_continues, create_study
from autoprune.pruning_search.problem.prepare import prepare
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.problem.subject.configured_model import classes_of
from autoprune.pruning_search.run import run

__all__ = [
    "Problem",
    "check_continues",
    "classes_of",
    "continue_on_device",
    "create_study",
    "describe_other_weights",
    "prepare",
    "rank_finalists",
    "run",
    "test_front",
    "trial_model",
]
