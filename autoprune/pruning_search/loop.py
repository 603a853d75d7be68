"""The search itself: ask, evaluate, tell, until the budget is spent."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from autoprune.errors import AutopruneError, DiskError, LostStorageError, StudyError, TrialError
from autoprune.pruning_search.coordination.budget_usage import counts, total_of, usage_of
from autoprune.pruning_search.coordination.heartbeat import Heartbeat, LostTrialFinder, this_process
from autoprune.pruning_search.coordination.plan_claims import Turn, claim, plan_key
from autoprune.pruning_search.coordination.retry import (
    fail,
    open_saved_trial,
    requeue,
    requeue_lost,
    start_retry,
)
from autoprune.pruning_search.coordination.snapshot import Snapshot
from autoprune.pruning_search.evaluation.early_stopping import early_stopping_for
from autoprune.pruning_search.evaluation.evaluate import (
    EvaluatedCandidate,
    OverBudget,
    Stopwatch,
    evaluate_candidate,
)
from autoprune.pruning_search.evaluation.micro_batches import MicroBatches
from autoprune.pruning_search.finish.finalists import worth_keeping
from autoprune.pruning_search.persistence.duplicates import find_duplicate, record_duplicate, timer_of
from autoprune.pruning_search.persistence.study import constrain
from autoprune.pruning_search.persistence.thread_change import record_threads
from autoprune.pruning_search.persistence.trial_record import attributes, values, write
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.problem import Problem
from autoprune.pruning_search.proposals.ask import ask, begin_trial
from autoprune.pruning_search.proposals.budget_levels import recorded_floor
from autoprune.pruning_search.proposals.front_gaps import fill_gap
from autoprune.pruning_search.proposals.refine import refine
from autoprune.pruning_search.proposals.sensitivity import recorded_curves
from autoprune.pruning_search.proposals.spaces import Space, make_space
from autoprune.study.attributes import (
    DUPLICATE_OF,
    MIXTURE,
    ORIGIN,
    PROCESS,
    REASON,
    RECOVERED,
    STAGES,
    UNTRAINED,
    WALL,
    WIDTHS,
)
from autoprune.study.attributes import SAMPLER as ASKING
from autoprune.study.diagnostics import COST
from autoprune.study.listener import Count, Listener
from autoprune.study.origins import AFTER_WARM_STARTS, GAP, REFINED, SAMPLER
from autoprune.study.states import INTERRUPTED, NO_ROOM, TOO_LARGE
from autoprune.tasks import weights_hash
from autoprune.tasks.import_reference import summary
from autoprune.tasks.out_of_memory import is_out_of_memory
from autoprune.utils.signals import check, finishing

FEW_REPEATS, MOST_REPEATS = 4, 40
"""Suggestions of known plans in a row after which chance has its say, and the space counts as exhausted."""
MOST_FAILURES = 10
"""Candidates of one process that fail in a row before it stops: nothing says that the next one will not."""
LONGEST_REASON = 300
ENDS_SEARCH = (OptunaError, SQLAlchemyError, OSError, DiskError, StudyError, LostStorageError)
"""What is no candidate's fault: without a storage and a disk there is no going on."""
IDLE_SECONDS = 0.5
"""Between two looks at the study of a worker that has to wait for others."""


@dataclass(frozen=True, eq=False)
class Search:
    """One process that searches, alone or beside others.

    Attributes:
        problem: what is pruned.
        study: where it is recorded.
        store: where weights are kept.
        listener: is notified of what happens.
        space: how parameters become widths.
        seed: of what this process draws besides its sampler.
        worker: its name among others; empty for one that is alone.
        micro_batches: how its batches are computed.
        watch: finds the trials of dead processes.
    """

    problem: Problem
    study: optuna.Study
    store: WeightStore
    listener: Listener
    space: Space
    seed: int
    micro_batches: MicroBatches
    worker: str = ""
    watch: LostTrialFinder = field(default_factory=LostTrialFinder)

    def requeue_lost(self, study: optuna.Study, mine: int | None = None) -> int:
        """Queue again what dead processes ran; `mine` is what this one runs. Returns how many there were."""
        requeued = requeue_lost(study, self.watch, mine=mine)
        if requeued:
            self.listener.note(f"{requeued} trial(s) of a process that died are run again")
        return requeued


def work(
    problem: Problem,
    study: optuna.Study,
    store: WeightStore,
    listener: Listener,
    *,
    seed: int | None = None,
    worker: str = "",
    began: float | None = None,
) -> None:
    """Evaluate trials until the budget of all workers together is spent. See :func:`run`.

    `began` is when the process did, by :func:`time.monotonic`.
    """
    began = time.monotonic() if began is None else began
    space = make_space(problem, recorded_curves(problem.budget_model, study), recorded_floor(study))
    seed = problem.config.seed if seed is None else seed
    search = Search(
        problem, study, store, listener, space, seed, MicroBatches(problem.config.batch_size), worker
    )
    record_threads(problem, study, listener)
    try:
        _search(search)
    finally:
        # Of its own: two workers that end together would add to the same number.
        key = f"{WALL}:{worker}" if worker else WALL
        study.set_user_attr(key, study.user_attrs.get(key, 0.0) + time.monotonic() - began)


def wait_for_others(study: optuna.Study, listener: Listener) -> None:
    """Wait until no other process runs a trial any more; those of the dead end as failed."""
    watch, is_notified = LostTrialFinder(), False
    while running := study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        requeue_lost(study, watch)
        if not is_notified:
            listener.note(f"waiting for {len(running)} trial(s) of other workers")
            is_notified = True
        time.sleep(IDLE_SECONDS)


def try_queued(search: Search) -> None:
    """Evaluate what is queued, and nothing else, while the budget lasts."""
    _search(search, queued_only=True)


def _search(search: Search, *, queued_only: bool = False) -> None:
    study, listener, repeats, failures = search.study, search.listener, 0, 0
    heart, budget, now = Heartbeat(study), search.problem.budget, Snapshot(study)
    while repeats < MOST_REPEATS:
        check()
        if search.requeue_lost(now):
            now = Snapshot(study)
        before = usage_of(budget, now)
        if before.is_over or (
            queued_only and not now.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        ):
            return
        if not before.has_room:
            time.sleep(IDLE_SECONDS)
            now = Snapshot(study)
            continue
        number, repeated = _try_next(search, now, heart, repeats, before.count)
        repeats = repeats + 1 if repeated else 0
        now = Snapshot(study)
        recorded = now.get_trials(deepcopy=False)[number]
        if recorded.state is TrialState.COMPLETE:
            _keep_the_best(search.store, now)
        listener.trial_finished(study, recorded, usage_of(budget, now).count)
        failures = failures + 1 if recorded.state is TrialState.FAIL and counts(recorded) else 0
        if failures == MOST_FAILURES:
            raise TrialError(f"stopped, for {failures} trials in a row failed: {recorded.user_attrs[REASON]}")
    listener.note(f"stopped: the last {MOST_REPEATS} suggestions were plans that are known already")


def _try_next(
    search: Search, study: Snapshot, heart: Heartbeat, repeats: int, count: Count
) -> tuple[int, bool]:
    """Ask for a trial and run it; returns its number, and whether its plan had been evaluated before.

    Whatever ends the search meanwhile, the trial is queued again.
    """
    trial, watch = None, Stopwatch()
    try:
        # A stop must not come between the trial's beginning in the storage and here.
        with watch.stage(ASKING), finishing():
            trial = _ask(search, study, repeats)
            origin = _mark_process(trial)
        search.listener.trial_started(trial.number, origin, count)
        with heart.of(trial):
            return trial.number, _run_trial(search, trial, watch)
    except (StudyError, LostStorageError):  # the storage is away for good, or not what it was
        raise
    except BaseException:
        if trial is not None:
            _requeue_interrupted(search.study, trial)
        raise


def _ask(search: Search, study: Snapshot, repeats: int) -> optuna.Trial:
    """What was queued again, else for a gap, refined, or sampled; after some repeats half are by chance."""
    again = start_retry(study)
    if again is not None:
        return again
    seen = study.without_previews()
    gap = fill_gap(search.problem, seen, search.space, search.seed) if repeats == 0 else None
    if gap is not None:
        return begin_trial(seen, *gap, _marks(GAP))
    near = refine(search.problem, seen, search.space, search.seed) if repeats == 0 else None
    if near is not None:
        return begin_trial(seen, near.parameters, near.distributions, _marks(REFINED) | near.attributes)
    if repeats < FEW_REPEATS or repeats % 2:
        return ask(seen, _marks(SAMPLER))
    # A trial asks the sampler of its study only when it is asked for parameters.
    chance = copy.copy(seen)
    chance.sampler = RandomSampler(seed=(search.seed + len(study.get_trials(deepcopy=False))) % 2**32)
    return chance.ask()


def _marks(origin: str) -> dict[str, Any]:
    """What every running trial says of itself."""
    return {PROCESS: this_process(), ORIGIN: origin}


def _mark_process(trial: optuna.Trial) -> str:
    """Put this process's name to a trial; returns its origin."""
    origin: str = trial.user_attrs.get(ORIGIN, SAMPLER)
    for key, value in _marks(origin).items():
        if trial.user_attrs.get(key) != value:
            trial.set_user_attr(key, value)
    return origin


def _run_trial(search: Search, trial: optuna.Trial, watch: Stopwatch) -> bool:
    """Evaluate and tell one trial; true when its plan had been evaluated before, or is just now."""
    problem, study = search.problem, search.study
    try:
        return _evaluate(search, trial, watch)
    except OverBudget as over:
        trial.set_user_attr(REASON, str(over))
        trial.set_user_attr(STAGES, {COST: {"decision": "over budget"}})
        constrain(problem.budget_model, trial, over.excess)
        study.tell(trial, state=TrialState.PRUNED)
    except UpdateFinishedTrialError:
        # This process was silent for so long that another one gave the trial up.
        search.listener.note(f"trial {trial.number} was given to another worker: its result here is dropped")
    except ENDS_SEARCH:
        raise
    except Exception as error:  # a model, a metric or data of the user's own may raise anything
        _record_failure(search, trial, error)
    return False


def _record_failure(search: Search, trial: optuna.Trial, error: Exception) -> None:
    """Record a candidate that failed; one for which memory was short is run again in more micro-batches."""
    study, recorded = search.study, _read_trial(search.study, trial.number)
    short = is_out_of_memory(error) and search.micro_batches.more()
    if not short:
        # An error of our own says all; of a user's code its kind does too.
        reason = str(error) if isinstance(error, AutopruneError) else summary(error)
        fail(study, recorded, reason[:LONGEST_REASON])
    elif requeue(study, recorded, TOO_LARGE):
        search.listener.note(
            f"trial {trial.number} ran out of memory: it is run again, and batches go in "
            f"{search.micro_batches.count} pieces from now on"
        )


def _evaluate(search: Search, trial: optuna.Trial, watch: Stopwatch) -> bool:
    """What :func:`_run_trial` does when nothing goes wrong."""
    problem, study = search.problem, search.study
    with watch.stage(ASKING):
        suggested = search.space.suggest(trial)
        mixture = None if problem.mixing is None else problem.mixing.suggest(trial)
    # A warm start is tried exactly as it is, even where the space comes only near it.
    widths = problem.structure.canonical(trial.user_attrs.get(WIDTHS, suggested))
    mixed = mixture is not None and widths != problem.structure.widths
    plan = problem.pruning.plan(widths, mixture) if mixed else None
    trained = UNTRAINED not in trial.user_attrs
    seen = _may_begin(search, trial, plan_key(widths, plan, trained=trained))
    if seen is None:
        return _read_trial(study, trial.number).user_attrs.get(REASON) != NO_ROOM
    before = find_duplicate(problem, seen, widths, mixture, trained=trained)
    if before is not None:
        record_duplicate(problem, study, trial, before)
        return True
    trial.set_user_attr(WIDTHS, widths)
    if mixed and mixture is not None:
        trial.set_user_attr(MIXTURE, mixture.weights)
    exempt = "" if trial.user_attrs[ORIGIN] in AFTER_WARM_STARTS else "a warm start"
    early_stopping = early_stopping_for(problem, seen, exempt=exempt)
    candidate = evaluate_candidate(
        problem,
        widths,
        plan,
        timer=timer_of(problem, study, trial),
        early_stopping=early_stopping,
        watch=watch,
        micro_batches=search.micro_batches.count,
        trained=trained,
    )
    _record_outcome(problem, study, search.store, trial, candidate)
    return False


def _may_begin(search: Search, trial: optuna.Trial, plan: str) -> Snapshot | None:
    """The study when this trial became the one to evaluate its plan; None where it did not, and is over."""
    study = search.study
    total = total_of(search.problem.budget)
    decision, seen = claim(study, trial, plan, total, lambda: search.requeue_lost(study, trial.number))
    if decision.turn is Turn.BEGIN:
        return seen
    own = _read_trial(study, trial.number)
    if decision.turn is Turn.NO_ROOM:
        # What was only drawn is no loss.
        end = requeue if "fixed_params" in own.system_attrs else fail
        end(study, own, NO_ROOM)
        return None
    trial.set_user_attr(DUPLICATE_OF, decision.ahead)
    fail(study, own, f"trial {decision.ahead} is evaluating the same plan")
    return None


def _record_outcome(
    problem: Problem,
    study: optuna.Study,
    store: WeightStore,
    trial: optuna.Trial,
    candidate: EvaluatedCandidate,
) -> None:
    """Record an evaluated candidate; if the storage is lost just now, in the one that the study is now in."""
    with finishing():
        try:
            _record(problem, study, store, trial, candidate)
        except LostStorageError as lost:
            saved = open_saved_trial(lost.rescued, study.study_name, trial.number) if lost.rescued else None
            if saved is not None:
                place = WeightStore.beside(lost.rescued, study.study_name)
                _record(problem, saved[0], place, saved[1], candidate)
            raise


def _record(
    problem: Problem,
    study: optuna.Study,
    store: WeightStore,
    trial: optuna.Trial,
    candidate: EvaluatedCandidate,
) -> None:
    recorded = attributes(problem, candidate)
    write(trial, recorded)
    if candidate.plan is not None and candidate.stop is None:
        # Saved before the trial is reported: a recorded trial never lacks its weights.
        trial.set_user_attr(RECOVERED, weights_hash(candidate.model))
        store.save(trial.number, candidate.model, candidate.plan)
    constrain(problem.budget_model, trial, dict(candidate.excess))
    study.tell(trial, values(problem, recorded))


def _keep_the_best(store: WeightStore, study: Snapshot) -> None:
    """Delete the weights of trials that are over and not near the front; what others save now is not over."""
    over = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
    store.prune(worth_keeping(study), over)


def _requeue_interrupted(study: optuna.Study, trial: optuna.Trial) -> None:
    """Queue an interrupted trial again, unless it was reported at the last moment."""
    recorded = _read_trial(study, trial.number)
    if not recorded.state.is_finished():
        requeue(study, recorded, INTERRUPTED)


def _read_trial(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]
