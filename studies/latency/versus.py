"""Does a latency budget give faster models than a FLOPs budget, at equal accuracy?

    python studies/latency/versus.py --batches 64 1 --trials 20

One search gets `flops=50%` and no information about the device. For each batch size another one with the same
trials, recovery and seed gets the latency of the slowest plan on the first one's front as its budget, in
ONNX Runtime on one thread, and has a profile of the device (`autoprune measure`). The plans of both are timed
together. For every accuracy on the front of the first, the fastest model of the second that is at most 0.2
points below it is looked up. Every plan is written to ``versus_plans.csv`` beside this file, the comparison
to ``versus.csv``. With ``--scratch FOLDER`` a run that was stopped goes on.
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
import torch
from subjects import subject

from autoprune.cost import Meter, Setting, runtime_by_name
from autoprune.cost.latency.group_shares import narrowed
from autoprune.structure import discover

STUDY = Path(__file__).parents[1] / "fashion_mnist_resnet20.toml"
MODEL = ("--data", "fashion-mnist", "--model", "autoprune.tasks.zoo:resnet20")
SLACK = 0.002
"""Accuracies this close are equal."""


def autoprune(*arguments: str, cache: Path) -> None:
    """Run a command with a separate cache, so that no profile exists beforehand."""
    environment = {**os.environ, "AUTOPRUNE_CACHE": str(cache)}
    subprocess.run([sys.executable, "-m", "autoprune", *arguments], check=True, env=environment)


def evaluated(storage: str, study: str) -> pd.DataFrame:
    """One row an evaluated plan that was really cut."""
    rows = [
        {"trial": trial.number}
        | {name: trial.user_attrs[name] for name in ("origin", "quality", "flops_ratio", "widths")}
        for trial in optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)
        if "quality" in trial.user_attrs
        and "duplicate_of" not in trial.user_attrs
        and trial.user_attrs["flops_ratio"] < 1
    ]
    return pd.DataFrame(rows)


def timed(plans: pd.DataFrame, batch: int) -> pd.DataFrame:
    """The plans with their latencies in ONNX Runtime, which depend on widths alone."""
    model, images = subject("resnet20")
    structure = discover(model, images[:1])
    inputs = torch.rand(batch, *images.shape[1:])
    meter = Meter(model, (inputs,), Setting(runtime_by_name("onnxruntime"), threads=1))
    measured = [meter.measure(narrowed(model, structure, widths)) for widths in plans["widths"]]
    return plans.drop(columns="widths").assign(
        latency_ms=[1e3 * latency.seconds for latency in measured],
        latency_ratio=[latency.ratio for latency in measured],
    )


def front(plans: pd.DataFrame) -> pd.DataFrame:
    """The plans that no other one beats in both accuracy and latency, fastest first."""
    ordered = plans.sort_values(["latency_ratio", "quality"], ascending=[True, False])
    return ordered[ordered["quality"] > ordered["quality"].cummax().shift(fill_value=-1.0)]


def compared(flops: pd.DataFrame, latency: pd.DataFrame) -> pd.DataFrame:
    """For each plan on the FLOPs search's front, the fastest as accurate one of the latency search."""
    rows = []
    for plan in front(flops).itertuples():
        equal = latency[latency["quality"] >= plan.quality - SLACK]
        if len(equal):
            fastest = equal.loc[equal["latency_ratio"].idxmin()]
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


def run_flops(trials: int, storage: str, cache: Path) -> pd.DataFrame:
    """Plans of the search that knows nothing of the device."""
    budget = ["--budget", "flops=50%", "--budget", f"trials={trials}", "--no-latency"]
    autoprune("search", str(STUDY), *budget, "--study", "flops", "--storage", storage, cache=cache)
    return evaluated(storage, "flops")


def run_latency(batch: int, trials: int, limit: float, storage: str, cache: Path) -> pd.DataFrame:
    """Plans of the search with a latency budget: a share of the original model's."""
    common = ["--runtime", "onnxruntime", "--threads", "1", "--latency-batch", str(batch)]
    autoprune("measure", *MODEL, *common, cache=cache)
    name = f"latency-{batch}-{limit:.2f}"
    budget = ["--budget", f"latency={limit:.0%}", "--budget", f"trials={trials}"]
    autoprune("search", str(STUDY), *common, *budget, "--study", name, "--storage", storage, cache=cache)
    return evaluated(storage, name)


def run(given: argparse.Namespace, scratch: Path) -> None:
    """Search, time, compare and record."""
    caches = scratch / "unknowing", scratch / "profiled"
    for cache in caches:
        cache.mkdir(parents=True, exist_ok=True)
        if given.baselines.is_dir() and not (cache / "baselines").exists():
            (cache / "baselines").symlink_to(given.baselines)
    storage = f"sqlite:///{scratch}/versus.db"
    by_flops = run_flops(given.trials, storage, caches[0])
    every, rows = [], []
    for batch in given.batches:
        # Without care for the device, plans of half the FLOPs may be slower than the original model.
        limit = min(1.0, front(timed(by_flops, batch))["latency_ratio"].max())
        by_latency = run_latency(batch, given.trials, limit, storage, caches[1])
        both = pd.concat([by_flops.assign(budget="flops"), by_latency.assign(budget="latency")])
        # In random order, so that what else the machine does meets both alike.
        both = timed(both.sample(frac=1, random_state=0), batch).assign(batch=batch)
        flops, latency = (both[both["budget"] == budget] for budget in ("flops", "latency"))
        every.append(both.sort_values(["budget", "trial"]))
        rows.append(compared(flops, latency).assign(batch=batch))
        print(rows[-1].to_string(index=False, float_format="%.4f"), flush=True)
        pd.concat(every).to_csv(given.folder / "versus_plans.csv", index=False, float_format="%.5g")
        pd.concat(rows).to_csv(given.folder / "versus.csv", index=False, float_format="%.4f")


def main() -> None:
    """Run all batch sizes, print and record the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--baselines", type=Path, default=Path.home() / ".cache/autoprune/baselines")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--scratch", type=Path, help="keep the searches here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.scratch is not None:
        run(given, given.scratch.absolute())
        return
    with tempfile.TemporaryDirectory() as scratch:
        run(given, Path(scratch))


if __name__ == "__main__":
    main()
