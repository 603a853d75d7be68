"""How long does each criterion take to score ResNet-18, next to one pass over the same data?

    python studies/criteria/timing.py

The unit is one forward and backward pass over the calibration data, a small set on purpose: what a criterion
does beside passes counts the more. Each criterion is timed between two such passes, in CPU seconds of this
process with one thread, so that other work on the machine hardly counts; the ratio is the median of the
rounds. ``timing.csv`` beside this file holds every criterion that is computed without training.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torchvision
from torch.nn import functional as F

from autoprune.cost import CostModel
from autoprune.cost.unit_prices import unit_prices
from autoprune.criteria import Context, criterion, names, score_units
from autoprune.structure import discover

GOAL = 10.0
"""Passes that no criterion takes longer than."""
SPECS = (
    *names(),
    "entropy:rule=min",
    "group-norm:p=1,reduce=prod,normalize=gaussian",
    "hessian:diagonal=weights",
    "robustness:noise=salt-and-pepper",
    "taylor/flops^0.5",
)
COLUMNS = ("criterion", "seconds", "pass_seconds", "passes")


def subject(batches: int, size: int) -> Context:
    """ResNet-18 with random weights, and images of noise."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    structure = discover(model, torch.zeros(1, 3, 224, 224))
    data = [(torch.randn(size, 3, 224, 224), torch.randint(0, 1000, (size,))) for _ in range(batches)]
    return Context(
        model, structure, lambda: data, F.cross_entropy, prices=unit_prices(CostModel.of(structure, model))
    )


def one_pass(context: Context) -> None:
    """Forward and backward over the data."""
    parameters = list(context.model.parameters())
    for inputs, targets in context.data("none"):
        torch.autograd.grad(F.cross_entropy(context.model(inputs), targets), parameters)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def timed(spec: str, context: Context, rounds: int) -> dict[str, str]:
    """One row of the table."""
    scoring, passes, ratios = [], [], []
    for _ in range(rounds):
        before = seconds(lambda: one_pass(context))
        scoring.append(seconds(lambda: score_units(criterion(spec), context)))
        passes.append((before + seconds(lambda: one_pass(context))) / 2)
        ratios.append(scoring[-1] / passes[-1])
    numbers = (median(scoring), median(passes), median(ratios))
    return dict(zip(COLUMNS, (spec, *(f"{number:.3g}" for number in numbers)), strict=True))


def main() -> None:
    """Time all criteria, record them, and say which ones miss the goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--criteria", nargs="+", default=SPECS)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--size", type=int, default=8, help="samples of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("timing.csv"))
    arguments = parser.parse_args()
    # Random weights leave some groups without differences, which is of no interest here.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    context = subject(arguments.batches, arguments.size)
    rows = []
    for spec in arguments.criteria:
        rows.append(timed(spec, context, arguments.rounds))
        print(f"{spec}: {rows[-1]['passes']} passes, {rows[-1]['seconds']} s", flush=True)
    with arguments.output.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    missed = [row["criterion"] for row in rows if float(row["passes"]) > GOAL]
    print(f"over {GOAL:g} passes: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
