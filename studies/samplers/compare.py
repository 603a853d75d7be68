"""Which space and which sampler find the better front in the same number of trials?

    python studies/samplers/compare.py --trials 40 --seeds 3 [--spaces criterion offset] [--samplers gp tpe]

Every pair searches the embedded digits model with the same warm starts, recovery and budget. The measure is
the hypervolume of error against FLOPs, in percent of the box from none of either to 30 % error and the
whole budget. Results are written to ``results.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from itertools import product
from pathlib import Path

import moocore
import numpy as np

import autoprune

SPACES = ("criterion", "offset", "sparsity")
SAMPLERS = ("gp", "tpe", "random", "nsga2", "nsga3")
WORST = (0.3, 0.5)
"""Error and share of the FLOPs beyond which a plan counts for nothing."""


def hypervolume(study: autoprune.Study) -> float:
    """Share of the box that the front dominates, in percent."""
    front = study.front()
    points = np.column_stack([1 - front["accuracy"], front["flops_ratio"]])
    return 100 * float(moocore.hypervolume(points, ref=WORST)) / (WORST[0] * WORST[1])


def search(space: str, sampler: str, seed: int, trials: int, folder: str) -> autoprune.Study:
    """One search with short recovery, on FLOPs alone."""
    return autoprune.search(
        budget=["flops=50%"],
        trials=trials,
        storage=f"sqlite:///{folder}/{space}-{sampler}-{seed}.db",
        space=space,
        sampler=sampler,
        seed=seed,
        finetune_steps=15,
        latency=False,
    )


def main() -> None:
    """Run all spaces, samplers and seeds, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spaces", nargs="+", default=SPACES, choices=SPACES)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=SAMPLERS)
    arguments = parser.parse_args()
    file = Path(__file__).with_name("results.csv")
    with file.open("w", newline="") as out, tempfile.TemporaryDirectory() as folder:
        writer = csv.writer(out)
        writer.writerow(["space", "sampler", "seed", "trials", "hypervolume_percent", "seconds"])
        for space, sampler in product(arguments.spaces, arguments.samplers):
            found = []
            for seed in range(arguments.seeds):
                start = time.perf_counter()
                study = search(space, sampler, seed, arguments.trials, folder)
                seconds = time.perf_counter() - start
                found.append(hypervolume(study))
                writer.writerow(
                    [space, sampler, seed, arguments.trials, f"{found[-1]:.3f}", f"{seconds:.0f}"]
                )
                out.flush()
            error = np.std(found, ddof=min(1, len(found) - 1)) / len(found) ** 0.5
            print(f"{space:9} {sampler:7} {np.mean(found):.2f} ± {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
