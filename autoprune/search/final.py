"""The reported front: its weights, and their quality on test data that nothing else has seen."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from autoprune.errors import StudyError
from autoprune.review import Listener
from autoprune.review.estimates import STOPPED
from autoprune.review.front import front_trials
from autoprune.search.evaluate import cut_model, recover
from autoprune.search.keep import WeightStore
from autoprune.search.problem import Problem
from autoprune.structure.plans import AnyPlan
from autoprune.tasks import evaluate

TEST = "test"


def test_front(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Score the uncut model and every front trial on the test split, each once in the study's life."""
    known: dict[str, float] = dict(study.user_attrs.get(TEST, {}))
    open_trials = [trial for trial in front_trials(study) if str(trial.number) not in known]
    if "baseline" not in known:
        known["baseline"] = evaluate(problem.model, problem.data.test, problem.data.task).value
    for done, trial in enumerate(open_trials):
        listener.progress(done / len(open_trials), f"trial {trial.number}")
        model, _ = trial_model(problem, trial, store)
        known[str(trial.number)] = evaluate(model, problem.data.test, problem.data.task).value
        study.set_user_attr(TEST, known)
    study.set_user_attr(TEST, known)


def trial_model(problem: Problem, trial: FrozenTrial, store: WeightStore) -> tuple[nn.Module, AnyPlan | None]:
    """The healed network of a finished trial: from its file, else cut and healed again with the same seed.

    Raises:
        StudyError: when the trial has no widths, or they now give another plan than the one recorded.
    """
    widths = trial.user_attrs.get("widths")
    if not widths or "plan" not in trial.user_attrs:
        raise StudyError(f"trial {trial.number} was not evaluated: choose one that `autoprune front` lists")
    if STOPPED in trial.user_attrs:
        raise StudyError(
            f"trial {trial.number} was {trial.user_attrs['reason']}: choose one that `autoprune front` lists"
        )
    if trial.user_attrs["plan"] == "uncut":
        return problem.model, None
    number = trial.user_attrs.get("duplicate_of", trial.number)
    plan = store.plan(number) or problem.plan(widths)
    if plan.hash != trial.user_attrs["plan"]:
        raise StudyError(
            f"trial {trial.number} was cut by another ranking than this machine computes: "
            "use the same torch version and data, or search again under another --study name"
        )
    model = cut_model(problem, plan)
    if store.load(number, model):
        return model.eval(), plan
    return recover(problem, plan).eval(), plan
