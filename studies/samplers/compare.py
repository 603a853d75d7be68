"""Which sampler finds the better front in the same number of trials?

    python studies/samplers/compare.py --trials 40 --seeds 3

Every sampler searches the embedded digits model with the same warm starts, recovery and budget. The
measure is the hypervolume of validation error against FLOPs, in percent of the largest box possible.
Results are written to ``results.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import moocore
import numpy as np

import autoprune

SAMPLERS = ("random", "nsga2", "nsga3", "tpe", "gp")


def hypervolume(study: autoprune.Study) -> float:
    """Share of the box from no error and no FLOPs to all of the uncut model's that the front dominates."""
    front = study.front()
    points = np.column_stack([1 - front["accuracy"], front["flops_ratio"]])
    return 100 * float(moocore.hypervolume(points, ref=[0.3, 0.5])) / (0.3 * 0.5)


def main() -> None:
    """Run all samplers and seeds, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    file = Path(__file__).with_name("results.csv")
    with file.open("w", newline="") as out, tempfile.TemporaryDirectory() as folder:
        writer = csv.writer(out)
        writer.writerow(["sampler", "seed", "trials", "hypervolume_percent"])
        for sampler in SAMPLERS:
            found = []
            for seed in range(arguments.seeds):
                study = autoprune.search(
                    budget=["flops=50%"],
                    trials=arguments.trials,
                    storage=f"sqlite:///{folder}/{sampler}-{seed}.db",
                    sampler=sampler,
                    seed=seed,
                    finetune_steps=15,
                    latency=False,
                )
                found.append(hypervolume(study))
                writer.writerow([sampler, seed, arguments.trials, f"{found[-1]:.3f}"])
                out.flush()
            print(f"{sampler:8} {np.mean(found):.2f} ± {np.std(found) / len(found) ** 0.5:.2f}", flush=True)


if __name__ == "__main__":
    main()
