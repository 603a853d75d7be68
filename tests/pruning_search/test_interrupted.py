"""Ctrl-C at any moment of a search: no trial goes on running, and none is lost."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from autoprune.pruning_search import Problem, create_study, run
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.subject.splits import ValidationSplits
from autoprune.review import Listener

Make = Callable[..., Problem]
WRITES = ("create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_user_attr")


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_trial_is_run_again(make_problem: Make, tmp_path: Path) -> None:
    problem = make_problem(budget=("flops=50%", "trials=14"), finetune_steps=1)
    study = create_study(problem)
    interrupting = _InterruptingSplit(problem.splits.selection)
    broken = dataclasses.replace(
        problem, subject=dataclasses.replace(problem.subject, splits=ValidationSplits(interrupting, None))
    )
    with pytest.raises(KeyboardInterrupt):
        run(broken, study, WeightStore(tmp_path), _Arming(interrupting, trial=2))
    failed = [trial for trial in study.trials if trial.state is TrialState.FAIL]
    assert [trial.user_attrs["reason"] for trial in failed] == ["interrupted"]
    run(problem, study, WeightStore(tmp_path), Listener())
    ended = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len(ended) >= 14
    again = next(trial for trial in ended if trial.user_attrs.get("retry_of") == failed[0].number)
    assert again.params == failed[0].params
    assert again.user_attrs["origin"] == failed[0].user_attrs["origin"]


class _Arming(Listener):
    """Lets a split be interrupted within a trial."""

    def __init__(self, split: _InterruptingSplit, trial: int) -> None:
        self._split, self._trial = split, trial

    def trial_started(self, number: int, *rest: Any) -> None:
        self._split.armed = number == self._trial


class _InterruptingSplit:
    """A split that is interrupted when it is read once it is armed."""

    def __init__(self, split: Any) -> None:
        self._split, self.armed = split, False

    def __len__(self) -> int:
        return len(self._split)

    def batches(self, *args: Any, **kwargs: Any) -> Any:
        if self.armed:
            raise KeyboardInterrupt
        return self._split.batches(*args, **kwargs)


@pytest.mark.parametrize("moments", [range(12), range(12, 36)], ids=["begin", "go on"])
def test_wherever_a_search_is_stopped_no_trial_is_lost_or_tried_twice(
    make_problem: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: range
) -> None:
    problem = make_problem(budget=("flops=50%", "trials=100"), finetune_steps=1)
    study = create_study(problem)
    stop = _Stop(study._storage, monkeypatch)
    for moment in moments:
        stop.beside(moment)
        with pytest.raises(KeyboardInterrupt):
            run(problem, study, WeightStore(tmp_path), Listener())
        assert not study.get_trials(states=(TrialState.RUNNING,)), moment
    trials = study.trials
    interrupted = [trial for trial in trials if trial.user_attrs.get("reason") == "interrupted"]
    assert interrupted
    assert _tried_again(trials) == [trial.number for trial in interrupted if _parameters(trial)]
    first = [str(trial.user_attrs["widths"]) for trial in trials if "retry_of" not in trial.user_attrs]
    assert len(first) == len(set(first))


def _tried_again(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    """Which of them were queued again, with all that they were queued with."""
    again = [trial for trial in trials if "retry_of" in trial.user_attrs]
    for trial in again:
        first = trials[trial.user_attrs["retry_of"]]
        assert _parameters(trial).items() >= _parameters(first).items()
    return sorted(trial.user_attrs["retry_of"] for trial in again)


def _parameters(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


class _Stop:
    """Ctrl-C beside a call of a storage that writes."""

    def __init__(self, storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = -1
        for name in WRITES:
            monkeypatch.setattr(storage, name, self._stopping(getattr(storage, name)))

    def beside(self, moment: int) -> None:
        """Come at that moment from now on: each call is two of them, one before it and one after it."""
        self._left = moment

    def _stopping(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            self._tick()
            result = call(*args, **named)
            self._tick()
            return result

        return called

    def _tick(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        self._left -= 1
