"""How well does a profile predict the latency of whole plans?

    python studies/latency/predict.py --plans 120

For each model and runtime, the profile is measured or taken from the cache, then other random plans are
measured beside the original model, all of them once and then all of them again. Printed and written to
``predict.csv`` beside this file: the median of the relative errors of the predicted ratios, Kendall's tau
between predicted ones and the means of the two measurements, and the tau between the two measurements, above
which no prediction can come by much. Every plan goes to ``predict_plans.csv``.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from itertools import product
from pathlib import Path

import torch
from subjects import MODELS, subject

import autoprune
from autoprune.cost import Predictor, Setting, accuracy, runtime_by_name
from autoprune.cost.latency.profile import Sample, load_profile, sampled
from autoprune.pruning_search.problem.latency import profile_path
from autoprune.pruning_search.problem.latency_profile import measure_profile, profiling_meter
from autoprune.review import Listener

RUNTIMES = ("eager", "onnxruntime")
SEED = 1
"""The profile's own random plans are drawn with another one."""


def compare(name: str, runtime: str, plans: int, seconds: float) -> list[tuple[float, float, float]]:
    """Predicted ratio of each plan, and the measured one of the first and of the second round."""
    model, batch = subject(name)
    structure = autoprune.discover(model, batch)
    setting = Setting(runtime_by_name(runtime), threads=1, max_seconds=seconds)
    meter = profiling_meter(model, (batch,), setting)
    file = profile_path(model, structure, meter.fingerprint)
    profile = load_profile(file) or measure_profile(model, structure, meter, file, Listener())
    predictor = Predictor.of(structure, profile)
    rounds: list[list[Sample]] = [[], []]
    for number, measured in enumerate(rounds, start=1):
        for sample in sampled(model, structure, meter, count=plans, seed=SEED):
            measured.append(sample)
            if len(measured) % 20 == 0:
                done = f"{len(measured)} of {plans} plans, round {number}"
                print(f"{name} {runtime}: {done}", file=sys.stderr, flush=True)
    return [
        (predictor.ratio(first.widths), first.ratio, second.ratio)
        for first, second in zip(*rounds, strict=True)
    ]


def main() -> None:
    """Run all models and runtimes, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=0.5, help="most seconds a timing takes")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    summary, every = arguments.folder / "predict.csv", arguments.folder / "predict_plans.csv"
    with summary.open("w", newline="") as out, every.open("w", newline="") as plans:
        results, rows = csv.writer(out), csv.writer(plans)
        results.writerow(
            [
                "model",
                "runtime",
                "plans",
                "median_error_percent",
                "kendall_tau",
                "kendall_tau_of_measurements",
            ]
        )
        rows.writerow(["model", "runtime", "predicted", "measured", "measured_again"])
        for name, runtime in product(arguments.models, arguments.runtimes):
            found = compare(name, runtime, arguments.plans, arguments.seconds)
            predicted, first, second = map(list, zip(*found, strict=True))
            reached = accuracy(predicted, [math.sqrt(a * b) for a, b in zip(first, second, strict=True)])
            error, limit = 100 * reached.error, accuracy(first, second).tau
            results.writerow(
                [name, runtime, reached.plans, f"{error:.2f}", f"{reached.tau:.3f}", f"{limit:.3f}"]
            )
            rows.writerows([name, runtime, *(f"{ratio:.4f}" for ratio in plan)] for plan in found)
            out.flush()
            plans.flush()
            print(
                f"{name:14} {runtime:12} median error {error:.1f} %, Kendall tau {reached.tau:.3f}; "
                f"of one measurement and the next {limit:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
