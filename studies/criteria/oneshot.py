"""How good is each criterion in one shot, without any fine-tuning?

    python studies/criteria/oneshot.py --seeds 3

The model of a study file is cut to shares of its FLOPs, by every criterion in two ways: ``uniform``, with the
same widths for all, so that only the order within groups counts, and ``global``, where units of the whole
model compete. Each cut is judged on validation data as it is, with BatchNorm statistics estimated anew, and
with compensated weights before that. A seed draws the calibration data. Rows that ``results.csv`` beside this
file holds already are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from autoprune.config import load_config
from autoprune.cost import CostModel
from autoprune.cost.prices import unit_prices
from autoprune.criteria import Context, Ranking, criterion, names, rankings
from autoprune.criteria.selection import ranked_widths
from autoprune.errors import CriterionError
from autoprune.recovery import Compensator, collect_moments, recalibrate
from autoprune.review import Listener
from autoprune.search import Problem, prepare
from autoprune.structure import Plan, Structure, apply
from autoprune.tasks import evaluate

HERE = Path(__file__).parent
SPECS = (
    *names(),
    "entropy:rule=min",
    "group-norm:over=out,normalize=none,scale=none",
    "hessian:diagonal=weights",
    "robustness:noise=salt-and-pepper,strength=0.05",
    "l2/flops^0.5",
    "taylor/flops^0.5",
    "fisher/flops",
)
LEVELS = (0.5, 0.35, 0.25)
WAYS = ("uniform", "global")
MENDING = ("none", "batchnorm", "compensation")
KEY = ("criterion", "way", "level", "seed", "mending")
COLUMNS = (*KEY, "flops", "accuracy", "loss", "scoring_seconds")

Widths = dict[str, int]


@dataclass(frozen=True, eq=False)
class Bench:
    """What all cuts of one model have in common."""

    problem: Problem
    structure: Structure
    costs: CostModel

    @classmethod
    def of(cls, study: Path, weights: str | None) -> Bench:
        """The model, data and structure of a study file."""
        settings = {
            "storage": "sqlite:///:memory:",
            "latency": False,
            "ranking_share": 0.0,
            "weights": weights,
        }
        problem = prepare(load_config(study, settings), Listener())
        structure = problem.structure
        assert isinstance(structure, Structure)
        return cls(problem, structure, CostModel.of(structure, problem.model))

    def calibration(self, seed: int, batches: int) -> list[tuple[Tensor, Tensor]]:
        """Training batches drawn by the seed."""
        shuffle = torch.Generator().manual_seed(seed)
        config = self.problem.config
        return list(islice(self.problem.data.train.batches(config.batch_size, shuffle=shuffle), batches))

    def widths(self, ranking: Ranking, way: str, level: float) -> Widths:
        """The most units, one a group at least, within that share of the FLOPs."""
        full = self.structure.widths
        by_rank = ranked_widths(ranking)

        def at(share: float) -> Widths:
            counts = by_rank(share) if way == "global" else {n: round(w * share) for n, w in full.items()}
            return {name: max(1, counts[name]) for name in full}

        return _largest(at, lambda widths: self.costs.flops(widths) <= level * self.costs.flops(full))

    def cut(self, ranking: Ranking, widths: Widths) -> tuple[nn.Module, Plan]:
        """A new model with the highest-ranked units."""
        full = self.structure.widths
        keep = {name: ranking.keep(name, width) for name, width in widths.items() if width < full[name]}
        plan = Plan.of(self.structure, keep)
        return apply(self.problem.model, plan, self.structure), plan


def _largest(at: Callable[[float], Widths], accept: Callable[[Widths], bool]) -> Widths:
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if accept(at(middle)) else (low, middle)
    return at(low)


def rows(
    bench: Bench, spec: str, seed: int, batches: int, done: set[tuple[object, ...]]
) -> Iterator[dict[str, object]]:
    """Every way, level and mending of one criterion with one seed, but for what is done already."""
    wanted = [(w, v, m) for w, v, m in product(WAYS, LEVELS, MENDING) if (spec, w, v, seed, m) not in done]
    if not wanted:
        return
    problem, data = bench.problem, bench.calibration(seed, batches)
    prices = unit_prices(bench.costs)
    context = Context(problem.model, bench.structure, lambda: data, problem.data.task.loss, seed, prices)
    start = time.perf_counter()
    ranking = rankings({spec: criterion(spec)}, context)[spec]
    seconds = time.perf_counter() - start
    moments = collect_moments(problem.model, bench.structure, (inputs for inputs, _ in data))
    compensate = Compensator(problem.model, bench.structure, moments)
    for way, level, mending in wanted:
        widths = bench.widths(ranking, way, level)
        model, plan = bench.cut(ranking, widths)
        if mending == "compensation":
            compensate(model, plan)
        if mending != "none":
            recalibrate(model, (inputs for inputs, _ in data))
        score = evaluate(model, problem.data.validation, problem.data.task)
        yield {
            "criterion": spec,
            "way": way,
            "level": level,
            "seed": seed,
            "mending": mending,
            "flops": bench.costs.flops(widths) / bench.costs.flops(bench.structure.widths),
            "accuracy": score.value,
            "loss": score.loss,
            "scoring_seconds": seconds,
        }


def table(file: Path) -> str:
    """Mean accuracy in percent over the seeds: a row a criterion, best first."""
    found = pd.read_csv(file)
    kept = found[found["mending"] == "compensation"]
    wide = 100 * kept.pivot_table("accuracy", "criterion", ["way", "level"], aggfunc="mean")
    order = wide.mean(axis=1).sort_values(ascending=False).index
    return wide.loc[order].to_string(float_format="{:.2f}".format)


def main() -> None:
    """Run what is missing, record it, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, default=HERE.parent / "fashion_mnist_resnet20.toml")
    parser.add_argument("--weights", help="of the trained model; without them it is trained first")
    parser.add_argument("--criteria", nargs="+", default=SPECS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--output", type=Path, default=HERE / "results.csv")
    arguments = parser.parse_args()
    warnings.simplefilter("once")
    bench = Bench.of(arguments.study, arguments.weights)
    print(f"uncut: {bench.problem.baseline.score.value:.2%}", flush=True)
    file: Path = arguments.output
    done = set()
    if file.exists():
        done = set(pd.read_csv(file)[list(KEY)].itertuples(index=False, name=None))
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        if not done:
            writer.writeheader()
        for spec, seed in product(arguments.criteria, range(arguments.seeds)):
            try:
                for row in rows(bench, spec, seed, arguments.batches, done):
                    writer.writerow(
                        {key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()}
                    )
            except CriterionError as error:
                print(f"{spec}: {error}", flush=True)
                break
            out.flush()
            print(f"{spec}, seed {seed}", flush=True)
    print(table(file))


if __name__ == "__main__":
    main()
