"""The search itself: ask, evaluate, tell, until the budget is spent."""

from __future__ import annotations

import time
from dataclasses import dataclass

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from autoprune.errors import AutopruneError
from autoprune.review import Count, Listener
from autoprune.review.estimates import STOPPED
from autoprune.review.health import COST, STAGES
from autoprune.review.stages import SAMPLER as ASKING
from autoprune.review.stages import WALL
from autoprune.search.evaluate import Candidate, OverBudget, Stopwatch, evaluate_candidate
from autoprune.search.finalists import worth_keeping
from autoprune.search.keep import WeightStore
from autoprune.search.known import known_plan, tell_again, timer_of
from autoprune.search.ladder import ladder_of
from autoprune.search.problem import Problem
from autoprune.search.record import attributes, values, write
from autoprune.search.sensitivity import sensitivity
from autoprune.search.spaces import Space, make_space
from autoprune.search.study import INTERRUPTED, SAMPLER, UNFINISHED, constrain, requeue, revive, this_process
from autoprune.search.warmstart import warm_starts

DEFAULT_TRIALS = 20
"""When the budget limits neither time nor trials."""
FEW_REPEATS, MOST_REPEATS = 4, 40
"""Suggestions of known plans in a row after which chance has its say, and the space counts as exhausted."""


@dataclass(frozen=True)
class Spent:
    """How much of the search budget is used: distinct plans recorded, and seconds of this run.

    Candidates that the ladder gave up took next to no time and do not count.
    """

    trials: int
    total: int | None
    started: float
    seconds: float | None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time budget ends; None without one."""
        return None if self.seconds is None else max(0.0, self.started + self.seconds - time.monotonic())

    @property
    def count(self) -> Count:
        """For the listener."""
        return Count(self.trials, self.total, self.seconds_left)

    @property
    def is_over(self) -> bool:
        """Whether another trial may not begin."""
        return (self.total is not None and self.trials >= self.total) or self.seconds_left == 0.0


def run(problem: Problem, study: optuna.Study, store: WeightStore, listener: Listener) -> None:
    """Search until the trials or the time of the budget are spent.

    A failing candidate is recorded with its reason and the search goes on. Ctrl-C ends it: the trial at
    hand is recorded as failed and queued again, and KeyboardInterrupt is raised again.
    """
    started = time.monotonic()
    curves = sensitivity(problem, study, listener)
    space = make_space(problem, curves)
    revived = revive(study)
    if revived:
        listener.note(f"{revived} trial(s) of a search that was killed are run again")
    if not study.get_trials(deepcopy=False):
        for start in warm_starts(problem, curves):
            study.enqueue_trial(
                space.parameters(start.widths), user_attrs={"origin": start.origin, "widths": start.widths}
            )
    try:
        _search(problem, study, store, space, listener, started)
    finally:
        study.set_user_attr(WALL, study.user_attrs.get(WALL, 0.0) + time.monotonic() - started)


def _search(
    problem: Problem,
    study: optuna.Study,
    store: WeightStore,
    space: Space,
    listener: Listener,
    started: float,
) -> None:
    repeats = 0
    while repeats < MOST_REPEATS:
        spent = _spent(problem, study, started)
        if spent.is_over:
            return
        watch = Stopwatch()
        with watch.stage(ASKING):
            trial = _ask(study, problem.config.seed, repeats)
        trial.set_user_attr("process", this_process())
        origin = trial.user_attrs.get("origin", SAMPLER)
        trial.set_user_attr("origin", origin)
        listener.trial_started(trial.number, origin, spent.count)
        repeated = _run_trial(problem, study, store, space, trial, watch)
        repeats = repeats + 1 if repeated else 0
        count = _spent(problem, study, started).count
        listener.trial_finished(study, _recorded(study, trial.number), count)
    listener.note(f"stopped: the last {MOST_REPEATS} suggestions were plans that are known already")


def _ask(study: optuna.Study, seed: int, repeats: int) -> optuna.Trial:
    """The sampler's next trial; after some repeats every second one is random, away from known plans."""
    if repeats < FEW_REPEATS or repeats % 2:
        return study.ask()
    usual = study.sampler
    study.sampler = RandomSampler(seed=(seed + len(study.get_trials(deepcopy=False))) % 2**32)
    try:
        return study.ask()
    finally:
        study.sampler = usual


def _run_trial(
    problem: Problem,
    study: optuna.Study,
    store: WeightStore,
    space: Space,
    trial: optuna.Trial,
    watch: Stopwatch,
) -> bool:
    """Evaluate and tell one trial; true when its plan had been evaluated before."""
    try:
        with watch.stage(ASKING):
            suggested = space.suggest(trial)
        # A warm start is tried exactly as it is, even where the space comes only near it.
        widths = problem.structure.settled(trial.user_attrs.get("widths", suggested))
        before = known_plan(problem, study, widths)
        if before is not None:
            tell_again(problem, study, trial, before)
            return True
        trial.set_user_attr("widths", widths)
        exempt = "" if trial.user_attrs["origin"] == SAMPLER else "a warm start"
        ladder = ladder_of(problem, study, exempt=exempt)
        candidate = evaluate_candidate(
            problem, widths, timer=timer_of(problem, study, trial), ladder=ladder, watch=watch
        )
        _tell(problem, study, store, trial, candidate)
    except OverBudget as over:
        trial.set_user_attr("reason", str(over))
        trial.set_user_attr(STAGES, {COST: {"decision": "over budget"}})
        constrain(problem, trial, over.excess)
        study.tell(trial, state=TrialState.PRUNED)
    except (AutopruneError, RuntimeError, ValueError, MemoryError) as error:
        trial.set_user_attr("reason", f"{type(error).__name__}: {error}".splitlines()[0])
        study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        _abandon(study, trial)
        raise
    return False


def _tell(
    problem: Problem, study: optuna.Study, store: WeightStore, trial: optuna.Trial, candidate: Candidate
) -> None:
    recorded = attributes(problem, candidate)
    write(trial, recorded)
    if candidate.plan is not None and candidate.stop is None:
        # Saved before the trial is told: a recorded trial never lacks its weights.
        store.save(trial.number, candidate.model, candidate.plan)
    constrain(problem, trial, dict(candidate.excess))
    study.tell(trial, values(problem, recorded))
    store.prune(worth_keeping(study))


def _abandon(study: optuna.Study, trial: optuna.Trial) -> None:
    """Queue an interrupted trial again, unless it was told in the last moment."""
    if not _recorded(study, trial.number).state.is_finished():
        trial.set_user_attr("reason", INTERRUPTED)
        study.tell(trial, state=TrialState.FAIL)
        requeue(study, _recorded(study, trial.number))


def _recorded(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _spent(problem: Problem, study: optuna.Study, started: float) -> Spent:
    budget = problem.budget
    total = budget.trials
    if total is None and budget.seconds is None:
        total = DEFAULT_TRIALS
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    counted = [
        trial
        for trial in ended
        if "duplicate_of" not in trial.user_attrs
        and STOPPED not in trial.user_attrs
        and trial.user_attrs.get("reason") not in UNFINISHED
    ]
    return Spent(len(counted), total, started, budget.seconds)
