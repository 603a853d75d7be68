"""Whether many workers find what one process finds: their trials, evaluated again one after another.

    python studies/scale/replay.py --workers 4 --trials 200

runs a search of quick trials with several workers on PostgreSQL, checks its records, evaluates the same
plans in one process, and compares every value and the front.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from server import postgresql

from autoprune.api import run_search
from autoprune.config.settings import Config, load_config
from autoprune.pruning_search import create_study, prepare, run
from autoprune.pruning_search.coordination.budget_usage import counts
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import Listener
from autoprune.study.front import front_trials

HERE = Path(__file__).parent


def settings(storage: str, trials: int, workers: int) -> Config:
    """Quick trials: nothing is fine-tuned."""
    given = {
        "model": f"{HERE / 'chain.py'}:small",
        "train_epochs": 8,
        "budget": ("flops=60%", f"trials={trials}"),
        "finetune_steps": 0,
        "latency": False,
        "calibration_batches": 2,
        "holdout_share": 0.0,
        # A Gaussian process over three groups would suggest the same few plans to all workers.
        "sampler": "tpe",
        "space": "sparsity",
        "workers": workers,
        "storage": storage,
        "study": "replay",
    }
    return load_config(None, given)


def evaluated(study: optuna.Study) -> dict[str, FrozenTrial]:
    """Plan -> the trial that evaluated it."""
    trials = [t for t in study.trials if t.values and "duplicate_of" not in t.user_attrs]
    plans = Counter(trial.user_attrs["plan"] for trial in trials)
    twice = [plan for plan, times in plans.items() if times > 1]
    assert not twice, f"evaluated twice: {twice}"
    return {trial.user_attrs["plan"]: trial for trial in trials}


def replay(study: optuna.Study, folder: Path) -> optuna.Study:
    """The same plans in one process, on a separate storage."""
    config = settings(str(folder / "replay.db"), len(evaluated(study)), 1)
    problem = prepare(config, Listener())
    again = create_study(problem)
    for trial in evaluated(study).values():
        kept = {key: trial.user_attrs[key] for key in ("origin", "widths")}
        again.enqueue_trial(trial.params, user_attrs=kept)
    run(problem, again, WeightStore(folder), Listener())
    return again


def front_of(study: optuna.Study) -> dict[str, list[float]]:
    """Plan -> objective values."""
    return {trial.user_attrs["plan"]: trial.values for trial in front_trials(study)}


def main() -> None:
    """Search, replay, compare, and write a line of the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--output", type=Path, default=HERE / "replay.csv")
    args = parser.parse_args()
    args.output = args.output.absolute()
    with postgresql() as server, tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        url = server.database("studies")
        began = time.monotonic()
        study = run_search(settings(url, args.trials, args.workers), Listener()).optuna
        wall = time.monotonic() - began
        states = Counter(trial.state for trial in study.trials)
        assert states[TrialState.RUNNING] == 0
        counted = sum(map(counts, study.trials))
        assert counted == args.trials, f"{counted} trials count, of {len(study.trials)}: {dict(states)}"
        assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
        again = replay(study, Path(name))
        first, second = evaluated(study), evaluated(again)
        assert {plan: t.values for plan, t in first.items()} == {plan: t.values for plan, t in second.items()}
        assert front_of(study) == front_of(again)
        row = {
            "workers": args.workers,
            "trials": args.trials,
            "recorded": len(study.trials),
            "plans": len(first),
            "repeats": sum("duplicate_of" in trial.user_attrs for trial in study.trials),
            "processes": len({t.user_attrs["process"]["pid"] for t in first.values()}),
            "front": len(front_of(study)),
            "same_values": True,
            "same_front": True,
            "wall": round(wall, 1),
        }
    with args.output.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
    print(row, file=sys.stdout)


if __name__ == "__main__":
    main()
