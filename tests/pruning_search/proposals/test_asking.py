"""A trial costs the storage few calls, whatever the number of its parameters."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from autoprune.pruning_search.coordination.snapshot import Snapshot
from autoprune.pruning_search.proposals.ask import ask, begin_trial
from autoprune.pruning_search.proposals.joint_tpe import JointTPE

SPACE: dict[str, BaseDistribution] = {
    **{f"width {number}": IntDistribution(2, 16, step=2) for number in range(5)},
    **{f"scale {number}": FloatDistribution(0.5, 2.0, log=True) for number in range(3)},
}


class Counting(optuna.storages.InMemoryStorage):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def create_new_trial(self, *arguments: Any, **named: Any) -> int:
        self.calls["create"] += 1
        return super().create_new_trial(*arguments, **named)

    def get_all_trials(self, *arguments: Any, **named: Any) -> Any:
        self.calls["read"] += 1
        return super().get_all_trials(*arguments, **named)

    def set_trial_param(self, *arguments: Any, **named: Any) -> None:
        self.calls["parameter"] += 1
        super().set_trial_param(*arguments, **named)


def filled(sampler: optuna.samplers.BaseSampler, trials: int = 30) -> optuna.Study:
    """Trials of random parameters: finished, over their budget, stopped early and running."""
    study = optuna.create_study(storage=Counting(), sampler=sampler, directions=["maximize", "minimize"])
    draw = random.Random(0)
    for number in range(trials):
        parameters: dict[str, Any] = {
            name: draw.randrange(2, 17, 2) if name.startswith("width") else draw.uniform(0.5, 2.0)
            for name in SPACE
        }
        state = TrialState.PRUNED if number % 7 == 3 else TrialState.COMPLETE
        values = None if state is TrialState.PRUNED else [draw.random(), sum(parameters.values())]
        study.add_trial(create_trial(state=state, params=parameters, distributions=SPACE, values=values))
    study.add_trial(create_trial(state=TrialState.RUNNING, params=parameters, distributions=SPACE))
    return study


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    return {name: trial._suggest(name, SPACE[name]) for name in sorted(SPACE)}


@pytest.mark.parametrize("trials", [3, 30])
def test_the_sampler_draws_what_optunas_draws(trials: int) -> None:
    samplers = TPESampler(seed=5, n_startup_trials=10), JointTPE(5)
    studies = [filled(sampler, trials) for sampler in samplers]
    for _ in range(4):
        asked = [study.ask() for study in studies]
        first, second = map(suggested, asked)
        assert first == second
        for study, trial in zip(studies, asked, strict=True):
            study.tell(trial, [0.5, float(sum(first.values()))])


def test_a_trial_is_made_with_its_parameters_in_one_call() -> None:
    study = filled(JointTPE(5))
    now = Snapshot(study)
    storage = study._storage
    assert isinstance(storage, Counting)
    storage.calls.clear()
    trial = ask(now, {"origin": "sampler"})
    found = suggested(trial)
    assert storage.calls == {"create": 1}
    recorded = study.trials[trial.number]
    assert recorded.params == found
    assert recorded.user_attrs == {"origin": "sampler"}
    assert recorded.state is TrialState.RUNNING
    study.tell(trial, [0.5, 1.0])


def test_parameters_that_are_known_are_those_of_the_trial() -> None:
    study = filled(JointTPE(5))
    known = study.trials[0].params
    trial = begin_trial(study, known, SPACE, {"origin": "gap"})
    assert suggested(trial) == known
    assert study.trials[trial.number].user_attrs == {"origin": "gap"}


@pytest.mark.parametrize("sampler", [RandomSampler(seed=0), JointTPE(0)])
def test_other_samplers_and_first_trials_are_asked_as_ever(sampler: optuna.samplers.BaseSampler) -> None:
    study = filled(sampler, trials=3)
    trial = ask(Snapshot(study), {"origin": "sampler"})
    assert suggested(trial).keys() == SPACE.keys()
    assert study.trials[trial.number].params == trial.params


def test_what_is_queued_comes_first() -> None:
    study = filled(JointTPE(5))
    study.enqueue_trial({"width 0": 4})
    trial = ask(Snapshot(study), {"origin": "sampler"})
    assert suggested(trial)["width 0"] == 4
    assert not [t for t in study.trials if t.state is TrialState.WAITING]


def test_a_snapshot_is_read_once_and_written_through() -> None:
    study = filled(JointTPE(5))
    study.set_user_attr("limit", 1)
    storage = study._storage
    assert isinstance(storage, Counting)
    storage.calls.clear()
    now = Snapshot(study)
    assert len(now.trials) == len(now.get_trials(deepcopy=False)) == 31
    assert len(now.get_trials(states=(TrialState.RUNNING,))) == 1
    assert storage.calls == {"read": 1}
    assert now.user_attrs["limit"] == 1
    now.set_user_attr("limit", 2)
    now.enqueue_trial({})
    assert now.user_attrs["limit"] == 1
    assert len(now.trials) == 31
    assert study.user_attrs["limit"] == 2
    assert len(study.trials) == 32
