"""How well does a profile predict the latency of whole plans?

    python studies/latency/predict.py --plans 120

For each model and runtime, the profile is measured or taken from the cache, then other random plans are
measured beside the uncut model. The median of the relative errors of the predicted ratios, and Kendall's tau
between predicted and measured ones, are printed and written to ``predict.csv`` beside this file, every plan
to ``predict_plans.csv``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from itertools import product
from pathlib import Path

import torch
from subjects import MODELS, subject

import autoprune
from autoprune.cost import Predictor, Setting, accuracy, runtime_by_name
from autoprune.cost.profile import load_profile, sampled
from autoprune.review import Listener
from autoprune.search.profiling import measured_anew, profiling_meter
from autoprune.search.timing import profile_path

RUNTIMES = ("eager", "onnxruntime")
SEED = 1
"""The profile's own random plans are drawn with another one."""


def compare(name: str, runtime: str, plans: int, seconds: float) -> list[tuple[float, float]]:
    """Predicted and measured ratio of each plan."""
    model, batch = subject(name)
    structure = autoprune.discover(model, batch)
    setting = Setting(runtime_by_name(runtime), threads=1)
    meter = profiling_meter(model, (batch,), setting, seconds)
    file = profile_path(model, structure, meter.fingerprint)
    profile = load_profile(file) or measured_anew(model, structure, meter, file, Listener())
    predictor = Predictor.of(structure, profile)
    drawn = sampled(model, structure, meter, count=plans, seed=SEED)
    pairs = []
    for sample in drawn:
        pairs.append((predictor.ratio(sample.widths), sample.ratio))
        if len(pairs) % 20 == 0:
            print(f"{name} {runtime}: {len(pairs)} of {plans} plans", file=sys.stderr, flush=True)
    return pairs


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
        results.writerow(["model", "runtime", "plans", "median_error_percent", "kendall_tau"])
        rows.writerow(["model", "runtime", "predicted", "measured"])
        for name, runtime in product(arguments.models, arguments.runtimes):
            pairs = compare(name, runtime, arguments.plans, arguments.seconds)
            found = accuracy(*zip(*pairs, strict=True))
            error = 100 * found.error
            results.writerow([name, runtime, found.plans, f"{error:.2f}", f"{found.tau:.3f}"])
            rows.writerows([name, runtime, f"{p:.4f}", f"{m:.4f}"] for p, m in pairs)
            out.flush()
            print(
                f"{name:14} {runtime:12} median error {error:.1f} %, Kendall tau {found.tau:.3f}", flush=True
            )


if __name__ == "__main__":
    main()
