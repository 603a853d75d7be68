"""Kill -9 in every stage of a search, in a process of its own; the same command then goes on."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from faulty import Run, study_in
from optuna.trial import FrozenTrial, TrialState

from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.tasks import digits_resnet, load_weights, weights_hash

TRIALS = 4


def finished(folder: Path) -> dict[int, FrozenTrial]:
    return {trial.number: trial for trial in study_in(folder).trials if trial.state.is_finished()}


@pytest.mark.parametrize(
    ("fault", "at"),
    [("kill before tell", 2), ("kill after tell", 2), ("kill in fine-tuning", 5), ("kill while writing", 2)],
)
def test_nothing_finished_is_lost_and_nothing_runs_twice(
    project: Path, search: Run, fault: str, at: int
) -> None:
    killed = search(trials=TRIALS, FAULT=fault, AT=str(at))
    assert killed.returncode == -signal.SIGKILL
    before = finished(project)
    assert len(before) == (2 if fault == "kill after tell" else 1)

    again = search(trials=TRIALS)
    assert again.returncode == 0, again.stderr
    after = study_in(project).trials
    for number, trial in before.items():
        assert (after[number].params, after[number].values) == (trial.params, trial.values)
        assert after[number].user_attrs == trial.user_attrs

    lost = [trial for trial in after if trial.user_attrs.get("reason") == "its process died"]
    assert len(lost) == (0 if fault == "kill after tell" else 1)
    for trial in lost:
        (retry,) = [other for other in after if other.user_attrs.get("retry_of") == trial.number]
        assert retry.params == trial.params
        assert retry.state is TrialState.COMPLETE
    assert {trial.state for trial in after} <= {TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING}
    complete = [trial for trial in after if trial.state is TrialState.COMPLETE]
    assert len(complete) == TRIALS
    plans = Counter(trial.user_attrs["plan"] for trial in complete if "duplicate_of" not in trial.user_attrs)
    assert set(plans.values()) == {1}
    _check_weights(project, complete)


def _check_weights(folder: Path, complete: list[FrozenTrial]) -> None:
    """Whatever weights are there are whole, and those that were scored."""
    store = WeightStore.beside(f"sqlite:///{folder}/autoprune.db", "faulty")
    kept = {int(file.name.split("-")[1].split(".")[0]) for file in store.folder.glob("trial-*.safetensors")}
    assert kept
    assert kept <= {trial.number for trial in complete}
    for number in kept:
        assert store.plan(number) is not None


def test_the_kept_weights_are_those_that_were_scored(project: Path, search: Run) -> None:
    assert search(trials=2).returncode == 0
    from autoprune.structure import Plan, apply, discover
    from autoprune.tasks import load_data

    store = WeightStore.beside(f"sqlite:///{project}/autoprune.db", "faulty")
    base = digits_resnet().eval()
    load_weights(base, project / "w.safetensors")
    structure = discover(base, load_data("digits").example(1))
    for number, trial in finished(project).items():
        plan = store.plan(number)
        if plan is None:
            continue
        assert isinstance(plan, Plan)
        pruned = apply(base, plan, structure)
        assert store.load(number, pruned)
        assert weights_hash(pruned) == trial.user_attrs["recovered_weights"]
