"""A search from its beginning: what is recorded for all workers, the previews, and then the trials."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from autoprune.criteria.curve import Curve
from autoprune.pruning_search.coordination.budget_usage import start_clock, usage_of
from autoprune.pruning_search.coordination.retry import requeue_lost
from autoprune.pruning_search.evaluation.micro_batches import MicroBatches
from autoprune.pruning_search.loop import Search, try_queued, wait_for_others, work
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.budget_fit import out_of_reach
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.budget_levels import FLOOR, floor_of, levels_of
from autoprune.pruning_search.proposals.learned_criterion import read_configured
from autoprune.pruning_search.proposals.preview import SAMPLES, is_previewed
from autoprune.pruning_search.proposals.sensitivity import measure_curves, sensitivity
from autoprune.pruning_search.proposals.sensitivity_effort import SHARE
from autoprune.pruning_search.proposals.spaces import Space, make_space
from autoprune.pruning_search.proposals.warm_start import WarmStart, previews, warm_starts
from autoprune.study.attributes import BUDGET_LEVELS, ORIGIN, READY, SENSITIVITY, UNTRAINED, WIDTHS
from autoprune.study.listener import Listener


def run(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Search until the trials or the time of the budget are spent.

    A failing candidate is recorded with its reason and the search goes on. Ctrl-C ends it: the trial at
    hand is recorded as failed and queued again, and KeyboardInterrupt is raised again. Other processes may
    work on the study meanwhile; in the end the trials that they run are waited for.
    """
    began = time.monotonic()
    begin(problem, study, store, listener)
    listener.phase("search", str(problem.budget))
    work(problem, study, store, listener, began=began)
    wait_for_others(study, listener)


def begin(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Record what workers need: sensitivity curves, the plans to try first, and when time is up.

    Where training takes long, a first front without it comes before all that.
    """
    start_clock(problem.budget, study)
    if problem.config.weights is None:
        store.save_original(problem.model)
    if problem.budget_model.is_out_of_reach:
        listener.note(out_of_reach(problem.budget_model))
    if is_previewed(problem) and not study.get_trials(deepcopy=False):
        _preview(problem, study, store, listener)
    curves = sensitivity(problem, study, listener)
    requeued = requeue_lost(study)
    if requeued:
        listener.note(f"{requeued} trial(s) of a search that was killed are run again")
    if not study.user_attrs.get(READY):
        levels = _levels(problem, study, listener, curves)
        starts = warm_starts(problem, curves, levels, read_configured(problem.config, problem.pruning))
        _enqueue(problem, study, make_space(problem, curves, floor_of(levels)), starts)
    study.set_user_attr(READY, True)


def _preview(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Make a first front without training, by curves on few samples, and then train its cheap end."""
    start = time.perf_counter()
    left = usage_of(problem.budget, study).seconds_left
    allowed = math.inf if left is None else SHARE * left
    curves = measure_curves(problem, listener, samples=SAMPLES, seconds=allowed)
    levels = _levels(problem, study, listener, curves)
    # The study's own curves come later, and add to this.
    study.set_user_attr(SENSITIVITY, {"seconds": round(time.perf_counter() - start, 3)})
    space = make_space(problem, curves, floor_of(levels))
    _enqueue(problem, study, space, previews(problem, curves, levels))
    listener.phase("preview", "a first front without training")
    micro_batches = MicroBatches(problem.config.batch_size)
    try_queued(Search(problem, study, store, listener, space, problem.config.seed, micro_batches))


def _levels(
    problem: Problem, study: optuna.Study, listener: Listener, curves: Mapping[str, Curve]
) -> tuple[float, ...]:
    """The study's levels; they are chosen once, so that all of its trials have the same range."""
    if BUDGET_LEVELS not in study.user_attrs:
        levels = levels_of(problem, curves)
        study.set_user_attr(BUDGET_LEVELS, levels)
        if floor_of(levels) < FLOOR:
            lowest = f"{levels[-1]:.0%} of the budget"
            listener.note(f"next to nothing is lost untrained: plans are looked for down to {lowest}")
    return tuple(study.user_attrs[BUDGET_LEVELS])


def _enqueue(problem: Problem, study: optuna.Study, space: Space, starts: Sequence[WarmStart]) -> None:
    """Queue the plans to try, but for those that a search has queued which was stopped just here."""
    trials = study.get_trials(deepcopy=False)
    queued = [(trial.system_attrs.get("fixed_params"), trial.user_attrs) for trial in trials]
    for start in starts:
        parameters = _parameters(problem, space, start)
        marks: dict[str, Any] = {ORIGIN: start.origin, WIDTHS: start.widths}
        if not start.trained:
            marks[UNTRAINED] = True
        if not any(parameters == its and marks.items() <= others.items() for its, others in queued):
            study.enqueue_trial(parameters, user_attrs=marks)


def _parameters(problem: Problem, space: Space, start: WarmStart) -> dict[str, Any]:
    """Parameters with which a trial is that warm start."""
    mixing, own = problem.mixing, space.parameters(start.widths)
    if mixing is None:
        return {**own}
    return {**own, **mixing.parameters(start.criterion or mixing.criteria[0])}
