"""Does a latency budget give faster models than a FLOPs budget, at equal accuracy?

    python studies/latency/versus.py --batches 1 64 --trials 16

For each batch size, two searches of the same model with the same trials, recovery and seed, both timed in
ONNX Runtime on one thread: one is told `flops=50%` and knows nothing of the device; the other is told
`latency=50%` and has a profile of it (`autoprune measure`). For every accuracy on the front of the first, the
fastest model of the second that is at most 0.2 points below it is looked up. Every plan is written to
``versus_plans.csv`` beside this file, the comparison to ``versus.csv``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
import pandas as pd

STUDY = Path(__file__).parents[1] / "fashion_mnist_resnet20.toml"
SLACK = 0.002
"""Accuracies this close are equal."""
COLUMNS = ("origin", "quality", "flops_ratio", "latency_ms", "latency_ratio")


def autoprune(*arguments: str, cache: Path) -> None:
    """Run a command with a cache of its own for profiles, so that none is known beforehand."""
    environment = {**os.environ, "AUTOPRUNE_CACHE": str(cache)}
    subprocess.run([sys.executable, "-m", "autoprune", *arguments], check=True, env=environment)


def evaluated(storage: str, study: str) -> pd.DataFrame:
    """One row an evaluated plan that was really cut."""
    rows = [
        {"trial": trial.number} | {name: trial.user_attrs[name] for name in COLUMNS}
        for trial in optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
        if trial.values and "duplicate_of" not in trial.user_attrs and trial.user_attrs["flops_ratio"] < 1
    ]
    return pd.DataFrame(rows)


def front(plans: pd.DataFrame) -> pd.DataFrame:
    """The plans that no other one beats in both accuracy and latency, fastest first."""
    ordered = plans.sort_values(["latency_ms", "quality"], ascending=[True, False])
    return ordered[ordered["quality"] > ordered["quality"].cummax().shift(fill_value=-1.0)]


def compared(flops: pd.DataFrame, latency: pd.DataFrame) -> pd.DataFrame:
    """For each plan on the FLOPs search's front, the fastest as accurate one of the latency search."""
    rows = []
    for plan in front(flops).itertuples():
        equal = latency[latency["quality"] >= plan.quality - SLACK]
        if len(equal):
            fastest = equal.loc[equal["latency_ms"].idxmin()]
            rows.append(
                {
                    "accuracy": plan.quality,
                    "flops_search_ratio": plan.latency_ratio,
                    "latency_search_accuracy": fastest["quality"],
                    "latency_search_ratio": fastest["latency_ratio"],
                    "lower_by": 1 - fastest["latency_ratio"] / plan.latency_ratio,
                }
            )
        else:
            rows.append({"accuracy": plan.quality, "flops_search_ratio": plan.latency_ratio})
    return pd.DataFrame(rows)


def run(batch: int, trials: int, storage: str, cache: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both searches at one batch size; the one that is to know nothing of the device comes first."""
    common = ["--runtime", "onnxruntime", "--threads", "1", "--latency-batch", str(batch)]
    plans = []
    for what in ("flops", "latency"):
        if what == "latency":
            autoprune("measure", str(STUDY), *common, cache=cache)
        name = f"{what}-{batch}"
        budget = ["--budget", f"{what}=50%", "--budget", f"trials={trials}"]
        where = ["--study", name, "--storage", storage]
        autoprune("search", str(STUDY), *common, *budget, *where, cache=cache)
        plans.append(evaluated(storage, name).assign(batch=batch, budget=what))
    return plans[0], plans[1]


def main() -> None:
    """Run all batch sizes, print and record the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--baselines", type=Path, default=Path.home() / ".cache/autoprune/baselines")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache, storage = Path(scratch), f"sqlite:///{scratch}/versus.db"
        if arguments.baselines.is_dir():
            (cache / "baselines").symlink_to(arguments.baselines)
        every, rows = [], []
        for batch in arguments.batches:
            flops, latency = run(batch, arguments.trials, storage, cache)
            every += [flops, latency]
            rows.append(compared(flops, latency).assign(batch=batch))
            print(rows[-1].to_string(index=False, float_format="%.4f"), flush=True)
            pd.concat(every).to_csv(arguments.folder / "versus_plans.csv", index=False, float_format="%.5g")
            pd.concat(rows).to_csv(arguments.folder / "versus.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
