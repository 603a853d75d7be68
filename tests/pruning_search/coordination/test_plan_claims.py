"""The protocol by which workers agree, in every order in which they can read and write."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.pruning_search.coordination.plan_claims import Decision, Turn, claim, decide
from autoprune.study.attributes import CLAIM


def running(number: int, plan: str | None = None, begun: bool = False) -> FrozenTrial:
    claimed = {} if plan is None else {CLAIM: {"plan": plan, "begun": begun}}
    trial = create_trial(state=TrialState.RUNNING, user_attrs=claimed)
    trial.number = number
    return trial


def ended(number: int, **attributes: object) -> FrozenTrial:
    trial = create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs=attributes)
    trial.number = number
    return trial


@pytest.mark.parametrize(
    ("others", "total", "expected"),
    [
        ([], None, Decision(Turn.BEGIN)),
        ([running(3)], 1, Decision(Turn.BEGIN)),
        ([running(3, "a", begun=True)], None, Decision(Turn.DUPLICATE, 3)),
        ([running(9, "a", begun=True)], None, Decision(Turn.DUPLICATE, 9)),
        ([running(3, "a")], None, Decision(Turn.DUPLICATE, 3)),
        ([running(9, "a")], None, Decision(Turn.WAIT)),
        ([running(9, "b")], None, Decision(Turn.BEGIN)),
        ([running(3, "b"), running(9, "c")], 3, Decision(Turn.BEGIN)),
        ([running(3, "b"), running(9, "c")], 2, Decision(Turn.WAIT)),
        ([running(3, "b"), running(9, "c")], 1, Decision(Turn.NO_ROOM)),
        ([running(9, "c", begun=True)], 1, Decision(Turn.NO_ROOM)),
        ([ended(0), ended(1)], 2, Decision(Turn.NO_ROOM)),
        ([ended(0), ended(1, duplicate_of=0)], 2, Decision(Turn.BEGIN)),
    ],
)
def test_what_a_trial_may_do(others: list[FrozenTrial], total: int | None, expected: Decision) -> None:
    assert decide(5, "a", [*others, running(5, "a")], total) == expected


class Worker:
    """One worker's steps: write its announcement, read the others', then begin or step back."""

    def __init__(self, number: int, plan: str) -> None:
        self.trial, self.plan, self.begun = running(number), plan, False

    def steps(self, trials: Sequence[FrozenTrial], total: int | None) -> Iterator[None]:
        self.trial.set_user_attr(CLAIM, {"plan": self.plan, "begun": False})
        yield
        while True:
            turn = decide(self.trial.number, self.plan, trials, total).turn
            yield  # others act between its reading and its writing
            if turn is Turn.BEGIN:
                self.begun = True
                self.trial.set_user_attr(CLAIM, {"plan": self.plan, "begun": True})
                return
            if turn is not Turn.WAIT:
                self.trial.state = TrialState.FAIL
                self.trial.set_user_attr("reason", "the budget was spent before it started")
                return


def play(plans: Sequence[str], total: int | None, order: Iterator[int]) -> list[Worker]:
    workers = [Worker(number, plan) for number, plan in enumerate(plans)]
    trials = [worker.trial for worker in workers]
    going = {worker.trial.number: worker.steps(trials, total) for worker in workers}
    for _ in range(10_000):
        if not going:
            return workers
        number = next(order)
        if number in going and next(going[number], "over") == "over":
            del going[number]
    raise AssertionError("they wait for each other")


@pytest.mark.parametrize("total", [None, 1])
@pytest.mark.parametrize("plans", ["aa", "ab"])
def test_two_workers_in_every_order(plans: str, total: int | None) -> None:
    for first in itertools.product(range(2), repeat=7):
        order = itertools.chain(first, itertools.cycle([0, 1]))
        begun = [worker.plan for worker in play(plans, total, order) if worker.begun]
        assert len(set(begun)) == len(begun)
        assert len(begun) == (1 if total == 1 or plans == "aa" else 2)


@pytest.mark.parametrize("total", [None, 1, 2, 4])
def test_many_workers_in_random_orders(total: int | None) -> None:
    draw = random.Random(0)
    for _ in range(300):
        plans = [draw.choice("abcd") for _ in range(6)]
        order = (draw.randrange(6) for _ in itertools.count())
        begun = [worker.plan for worker in play(plans, total, order) if worker.begun]
        assert len(set(begun)) == len(begun)
        assert len(begun) >= 1
        assert total is None or len(begun) <= total


def test_a_trial_that_waits_goes_on_when_the_dead_are_gone() -> None:
    study = optuna.create_study()
    first, dead = study.ask(), study.ask()
    dead.set_user_attr(CLAIM, {"plan": "a", "begun": False})
    looks = []

    def requeue() -> None:
        looks.append(1)
        if len(looks) == 2:
            study.tell(dead, state=TrialState.FAIL)

    decision, seen = claim(study, first, "a", None, requeue)
    assert decision == Decision(Turn.BEGIN)
    assert len(looks) == 2
    assert seen.trials[1].state is TrialState.FAIL
    assert study.trials[0].user_attrs[CLAIM] == {"plan": "a", "begun": True}
