"""The reported front: its weights, and their quality on test data that nothing else has seen."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from autoprune.errors import StudyError
from autoprune.pruning_search.evaluation.evaluate import cut_model, recover
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.criterion_choice import mixture_of
from autoprune.pruning_search.problem.problem import Problem
from autoprune.structure.plans import AnyPlan
from autoprune.study.attributes import (
    DUPLICATE_OF,
    MICRO_BATCHES,
    PLAN,
    REASON,
    RECOVERED,
    STOPPED,
    TEST,
    UNTRAINED,
    WIDTHS,
)
from autoprune.study.front import front_trials
from autoprune.study.listener import Listener
from autoprune.tasks import evaluate, weights_hash
from autoprune.utils.untrusted import is_whole


def test_front(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Score the original model and every front trial on the test split, each once in the study's life."""
    qualities: dict[str, float] = dict(study.user_attrs.get(TEST, {}))
    open_trials = [trial for trial in front_trials(study) if str(trial.number) not in qualities]
    if "baseline" not in qualities:
        qualities["baseline"] = evaluate(problem.model, problem.data.test, problem.data.task).value
    for done, trial in enumerate(open_trials):
        listener.progress(done / len(open_trials), f"trial {trial.number}")
        model, _ = trial_model(problem, trial, store)
        qualities[str(trial.number)] = evaluate(model, problem.data.test, problem.data.task).value
        study.set_user_attr(TEST, qualities)
    study.set_user_attr(TEST, qualities)


def trial_model(problem: Problem, trial: FrozenTrial, store: WeightStore) -> tuple[nn.Module, AnyPlan | None]:
    """A finished trial's recovered network: from its file, or pruned and recovered again with the same seed.

    Raises:
        StudyError: when the trial has no widths, or they now give another plan than the one recorded.
    """
    widths = trial.user_attrs.get(WIDTHS)
    if not widths or PLAN not in trial.user_attrs:
        raise StudyError(f"trial {trial.number} was not evaluated: choose one that `autoprune front` lists")
    if STOPPED in trial.user_attrs:
        raise StudyError(
            f"trial {trial.number} was {trial.user_attrs[REASON]}: choose one that `autoprune front` lists"
        )
    if trial.user_attrs[PLAN] == "original":
        return problem.model, None
    full = problem.structure.widths
    if not isinstance(widths, Mapping) or widths.keys() != full.keys():
        raise StudyError(
            f"trial {trial.number} has widths of other groups than this model: name another study"
        )
    if not all(is_whole(width, most=full[name]) for name, width in widths.items()):
        raise StudyError(f"trial {trial.number} has widths that this model does not have: name another study")
    number = trial.user_attrs.get(DUPLICATE_OF, trial.number)
    plan = store.plan(number)
    if plan is None or plan.hash != trial.user_attrs[PLAN]:
        plan = problem.pruning.plan(widths, mixture_of(trial.user_attrs))
    if plan.hash != trial.user_attrs[PLAN]:
        raise StudyError(
            f"trial {trial.number} was cut by another ranking than this machine computes: "
            "use the same torch version and data, or search again under another --study name"
        )
    model, recovered = cut_model(problem, plan), trial.user_attrs.get(RECOVERED)
    # A file with other weights than those that were scored is as good as none.
    if store.load(number, model) and recovered in (None, weights_hash(model)):
        return model.eval(), plan
    micro_batches = trial.user_attrs.get(MICRO_BATCHES, 1)
    model = recover(
        problem,
        plan,
        micro_batches if is_whole(micro_batches, 1) else 1,
        trained=UNTRAINED not in trial.user_attrs,
    )
    return model.eval(), plan


def describe_other_weights(problem: Problem, trial: FrozenTrial, model: nn.Module) -> list[str]:
    """What to say of a model of :func:`trial_model` whose weights are not those that were scored."""
    if trial.user_attrs.get(RECOVERED) in (None, weights_hash(model)):
        return []
    quality = evaluate(model, problem.splits.selection, problem.data.task).value
    return [
        f"the weights of trial {trial.number} were lost, and recovering it again gave others, as on another "
        f"machine or with another version: {problem.data.task.metric} {quality:.4f} where the search had "
        f"{trial.values[0]:.4f}"
    ]
