"""How well does a profile predict the latency of whole plans?

    python studies/latency/predict.py --plans 50

For each model and runtime, the profile is measured or taken from the cache, then random plans are measured
beside the uncut model. The median of the relative errors of the predicted ratios, and Kendall's tau between
predicted and measured ones, are printed and written to ``predict.csv`` beside this file, every plan to
``predict_plans.csv``.
"""

from __future__ import annotations

import argparse
import csv
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from subjects import MODELS, random_widths, subject

import autoprune
from autoprune.cost import CostModel, Meter, Predictor, Profile, Setting, runtime_by_name
from autoprune.cost.profile import load_profile, profiled, save_profile
from autoprune.cost.shares import narrowed
from autoprune.measurement import TOLERANCE
from autoprune.search.timing import profile_path

RUNTIMES = ("eager", "onnxruntime")


def compare(name: str, runtime: str, plans: int, seconds: float) -> list[tuple[float, float]]:
    """Predicted and measured ratio of each plan."""
    model, batch = subject(name)
    structure = autoprune.discover(model, batch)
    setting = Setting(runtime_by_name(runtime), threads=1)
    meter = Meter(model, (batch,), setting, tolerance=TOLERANCE, max_seconds=seconds)
    file = profile_path(model, structure, meter.fingerprint)
    profile = load_profile(file)
    if profile is None:
        uncut = meter.measure(model).reference_seconds
        profile = Profile(meter.fingerprint, uncut, dict(profiled(model, structure, meter)))
        save_profile(profile, file)
    predictor = Predictor(profile, CostModel.of(structure, model), structure.widths)
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(plans):
        widths = random_widths(structure, generator)
        cut = {group: width for group, width in widths.items() if width < structure.widths[group]}
        measured = meter.measure(narrowed(model, structure, cut)).ratio if cut else 1.0
        pairs.append((predictor.ratio(widths), measured))
    return pairs


def main() -> None:
    """Run all models and runtimes, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=50)
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
            predicted, measured = np.array(pairs).T
            error = 100 * float(np.median(np.abs(predicted / measured - 1)))
            tau = float(kendalltau(predicted, measured).statistic)
            results.writerow([name, runtime, len(pairs), f"{error:.2f}", f"{tau:.3f}"])
            rows.writerows([name, runtime, f"{p:.4f}", f"{m:.4f}"] for p, m in pairs)
            out.flush()
            print(f"{name:14} {runtime:12} median error {error:.1f} %, Kendall tau {tau:.2f}", flush=True)


if __name__ == "__main__":
    main()
