"""Which space and which sampler find the better front in the same number of trials?

    python studies/samplers/compare.py --trials 40 --seeds 3 [--spaces criterion] [--samplers gp tpe]
    python studies/samplers/compare.py --blocks 24 --samplers tpe

Every pair searches the embedded digits model, of 9 groups, or a residual perceptron of so many blocks, with
the same warm starts, recovery and budget. The measure is the hypervolume of error against FLOPs, in percent
of the box from none of either to 30 % error and the whole budget. Results are written to ``results.csv``
beside this file, or ``results-BLOCKS.csv``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import moocore
import numpy as np
from deep import trained
from torch import nn

import autoprune
from autoprune.tasks import Data, load_data

SPACES = ("criterion", "sparsity")
SAMPLERS = ("gp", "tpe", "random", "nsga2", "nsga3")
WORST = (0.3, 0.5)
"""Error and share of the FLOPs beyond which a plan counts for nothing."""


def hypervolume(study: autoprune.Study) -> float:
    """Share of the box that the front dominates, in percent."""
    front = study.front()
    points = np.column_stack([1 - front["accuracy"], front["flops_ratio"]])
    return 100 * float(moocore.hypervolume(points, ref=WORST)) / (WORST[0] * WORST[1])


@dataclass(frozen=True)
class Subject:
    """What is searched: a model, None for the embedded one, its data, and the steps of its recovery."""

    model: nn.Module | None
    data: Data | str
    steps: int


def subject_of(blocks: int) -> Subject:
    """The embedded model, or the perceptron with this number of blocks."""
    if not blocks:
        return Subject(None, "digits", 15)
    data = load_data("digits")
    return Subject(trained(data, blocks), data, 30)


def searched(subject: Subject, space: str, sampler: str, seed: int, trials: int) -> float:
    """The hypervolume that one search has in the end, with short recovery, on FLOPs alone."""
    with tempfile.TemporaryDirectory() as folder:
        study = autoprune.search(
            subject.model,
            subject.data,
            budget=["flops=50%"],
            trials=trials,
            storage=f"sqlite:///{folder}/study.db",
            space=space,
            sampler=sampler,
            seed=seed,
            finetune_steps=subject.steps,
            latency=False,
        )
        return hypervolume(study)


def main() -> None:
    """Run all spaces, samplers and seeds, print and record the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--spaces", nargs="+", default=SPACES, choices=SPACES)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=SAMPLERS)
    parser.add_argument("--blocks", type=int, default=0)
    arguments = parser.parse_args()
    blocks, trials = arguments.blocks, arguments.trials
    subject = subject_of(blocks)
    file = Path(__file__).with_name(f"results-{blocks}.csv" if blocks else "results.csv")
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["space", "sampler", "seed", "trials", "hypervolume_percent", "seconds"])
        for space, sampler in product(arguments.spaces, arguments.samplers):
            found = []
            for seed in range(arguments.seeds):
                start = time.perf_counter()
                found.append(searched(subject, space, sampler, seed, trials))
                seconds = time.perf_counter() - start
                writer.writerow([space, sampler, seed, trials, f"{found[-1]:.3f}", f"{seconds:.0f}"])
                out.flush()
            error = np.std(found, ddof=min(1, len(found) - 1)) / len(found) ** 0.5
            print(f"{space:9} {sampler:7} {np.mean(found):.2f} ± {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
