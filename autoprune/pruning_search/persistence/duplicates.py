"""Plans that the study knows already: none is recovered twice, and on one device none is timed twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoprune.criteria.mixture import Mixture
from autoprune.pruning_search.evaluation.evaluate import (
    OverBudget,
    cut_model,
    latency_excess,
    latency_of,
    over_text,
)
from autoprune.pruning_search.persistence.trial_record import latency_attributes, values, write
from autoprune.pruning_search.problem.criterion_choice import mixture_of
from autoprune.pruning_search.problem.latency import StudyTimer
from autoprune.pruning_search.problem.problem import Problem
from autoprune.study.attributes import (
    CLAIM,
    DUPLICATE_OF,
    HEARTBEAT,
    ORIGIN,
    PLAN,
    PROCESS,
    RETRY_OF,
    TIMING,
    UNTRAINED,
    WIDTHS,
)
from autoprune.study.front import measured_on

_OWN = (ORIGIN, RETRY_OF, PROCESS, HEARTBEAT, CLAIM, TIMING)
"""What a trial does not take over from the one with the same plan."""


def find_duplicate(
    problem: Problem,
    study: optuna.Study,
    widths: Mapping[str, int],
    mixture: Mixture | None = None,
    *,
    trained: bool = True,
) -> FrozenTrial | None:
    """The first trial with these widths and the same units, `trained` or not, however it ended.

    Where the budget limits latency, trials that were timed elsewhere come last, and those of them that ended
    without a quality not at all.
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    same = [
        trial
        for trial in ended
        if trial.user_attrs.get(WIDTHS) == widths and (UNTRAINED not in trial.user_attrs) == trained
    ]
    if mixture is not None and same and widths != problem.structure.widths:
        # Over budget or not is a matter of widths: those trials have no plan.
        plan = problem.pruning.plan(widths, mixture).hash
        same = [trial for trial in same if trial.user_attrs.get(PLAN, plan) == plan]
    here = [trial for trial in same if not is_timed_elsewhere(problem, trial)]
    scored = [trial for trial in same if trial.state is TrialState.COMPLETE]
    return next(iter([*here, *scored]), None)


def is_timed_elsewhere(problem: Problem, trial: FrozenTrial) -> bool:
    """Whether the budget limits latency, and the trial's is another device's."""
    if "latency" not in problem.budget_model.limits or problem.meter is None:
        return False
    return measured_on(trial) not in ("", problem.meter.fingerprint.key)


def record_duplicate(problem: Problem, study: optuna.Study, trial: optuna.Trial, before: FrozenTrial) -> None:
    """Record the known result of an equal plan under the new parameters, with a latency of this device.

    Raises OverBudget where that is over the budget, before the trial is reported.
    """
    recorded: dict[str, Any] = {key: value for key, value in before.user_attrs.items() if key not in _OWN}
    first = before.user_attrs.get(DUPLICATE_OF, before.number)
    write(trial, recorded | {DUPLICATE_OF: first})
    excess = dict(before.constraints)
    if is_timed_elsewhere(problem, before):
        excess |= _time_again(problem, study, trial, recorded)
    elif TIMING in before.user_attrs:
        trial.set_user_attr(TIMING, before.user_attrs[TIMING])
    for name, value in excess.items():
        trial.set_constraint(name, value)
    if before.state is TrialState.COMPLETE:
        study.tell(trial, values(problem, recorded))
    else:
        study.tell(trial, state=before.state)


def timer_of(problem: Problem, study: optuna.Study, trial: optuna.Trial) -> StudyTimer | None:
    """What times the candidate of a trial; None where latency is not measured."""
    return None if problem.meter is None else StudyTimer(study, trial, problem.meter)


def _time_again(
    problem: Problem, study: optuna.Study, trial: optuna.Trial, recorded: dict[str, Any]
) -> dict[str, float]:
    """Put this device's latency in the place of the other one's; returns how far it is over its limit."""
    widths = recorded[WIDTHS]
    mixture = mixture_of(recorded)
    plan = None if widths == problem.structure.widths else problem.pruning.plan(widths, mixture)
    latency = latency_of(problem, cut_model(problem, plan), timer_of(problem, study, trial))
    over = latency_excess(problem.budget_model, latency)
    if latency is None or any(value > 0 for value in over.values()):
        raise OverBudget(over_text(over), over)
    recorded |= latency_attributes(problem, latency)
    write(trial, recorded)
    return over
