"""How good is each criterion for one-shot pruning, before and after a short fine-tuning?

    python studies/criteria/oneshot.py

The models of two study files, a residual and a plain network, are cut to shares of their FLOPs, by every
criterion in two ways: ``uniform``, with the same widths for all, so that only the order within groups counts,
and ``global``, where units of the whole model compete. Each cut is judged on validation data as it is, with
recalibrated BatchNorm statistics, and with compensated weights before that; then again after the study's
fine-tuning. A seed trains the network, and draws the calibration data and the batches. Rows that
``oneshot.csv`` beside this file holds already are kept, so that a run that was stopped goes on; the tables
and the picture of ``oneshot_summary.py`` come last.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
from oneshot_summary import KEY, REPAIRS, WAYS, show
from torch import nn

from autoprune.config.settings import load_config
from autoprune.cost import CostModel
from autoprune.cost.unit_prices import unit_prices
from autoprune.criteria import Context, Ranking, criterion, names, rankings
from autoprune.criteria.selection import ranked_widths
from autoprune.errors import CriterionError
from autoprune.pruning_search import Problem, prepare
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.recovery import (
    CachedBatch,
    Compensator,
    Recipe,
    cache_batches,
    collect_moments,
    finetune,
    recalibrate,
)
from autoprune.review import Listener
from autoprune.structure import Plan, Structure, apply
from autoprune.tasks import device_of, evaluate

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
COLUMNS = (*KEY, "flops", "accuracy", "loss", "accuracy_after", "scoring_seconds")
STUDIES = (HERE.parent / "fashion_mnist_resnet20.toml", HERE / "fashion_mnist_plain8.toml")

Widths = dict[str, int]


@dataclass(frozen=True, eq=False)
class Bench:
    """What all cuts of one model have in common.

    Attributes:
        name: of the model.
        seed: that trained it.
        problem: the model with its data.
        structure: what can be cut.
        costs: of its cuts.
        after: hash of a plan, and whether it was compensated -> accuracy after fine-tuning.
    """

    name: str
    seed: int
    problem: Problem
    structure: Structure
    costs: CostModel
    after: dict[tuple[str, bool], float | str] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Path, seed: int) -> Bench:
        """The model of a study file, trained with the seed, its data and its structure."""
        settings = {
            "storage": "sqlite:///:memory:",
            "latency": False,
            "holdout_share": 0.0,
            "seed": seed,
        }
        problem = prepare(load_config(study, settings), Listener())
        structure = problem.structure
        assert isinstance(structure, Structure)
        name = problem.subject.name.rpartition(":")[2]
        return cls(name, seed, problem, structure, CostModel.of(structure, problem.model))

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


@dataclass(frozen=True)
class Wanted:
    """What to run of one criterion on one network.

    Attributes:
        ways: of choosing widths.
        levels: shares of the FLOPs.
        repair: what is done to a cut model without training it.
        steps: of fine-tuning; 0 for none.
    """

    ways: tuple[str, ...]
    levels: tuple[float, ...]
    repair: tuple[str, ...]
    steps: int


def rows(
    bench: Bench, spec: str, wanted: Wanted, done: set[tuple[object, ...]]
) -> Iterator[dict[str, object]]:
    """Every way, level and repair of one criterion on one network, but for what is done already."""
    open_ = [
        (way, level, repair)
        for way, level, repair in product(wanted.ways, wanted.levels, wanted.repair)
        if (bench.name, spec, way, level, bench.seed, repair) not in done
    ]
    if not open_:
        return
    problem, data = bench.problem, bench.problem.subject.calibration
    prices = unit_prices(bench.costs)
    context = Context(
        problem.model, bench.structure, lambda: data, problem.data.task.loss, bench.seed, prices
    )
    start = time.perf_counter()
    ranking = rankings({spec: criterion(spec)}, context)[spec]
    seconds = time.perf_counter() - start
    moments = collect_moments(problem.model, bench.structure, (inputs for inputs, _ in data))
    compensate = Compensator(problem.model, bench.structure, moments)
    for way, level, repair in open_:
        widths = bench.widths(ranking, way, level)
        model, plan = bench.cut(ranking, widths)
        if repair == "compensation":
            compensate(model, plan)
        if repair != "none":
            recalibrate(model, (inputs for inputs, _ in data))
        score = evaluate(model, problem.data.validation, problem.data.task)
        # BatchNorm trains with the statistics of its batches: those that were there before change nothing.
        trained = (plan.hash, repair == "compensation")
        if trained not in bench.after:
            bench.after[trained] = recovered(bench, model, wanted.steps)
        yield {
            "model": bench.name,
            "criterion": spec,
            "way": way,
            "level": level,
            "seed": bench.seed,
            "repair": repair,
            "flops": bench.costs.flops(widths) / bench.costs.flops(bench.structure.widths),
            "accuracy": score.value,
            "loss": score.loss,
            "accuracy_after": bench.after[trained],
            "scoring_seconds": seconds,
        }


def recovered(bench: Bench, model: nn.Module, steps: int) -> float | str:
    """Accuracy after a number of steps of the study's recovery, in place; empty for none."""
    problem = bench.problem
    recipe = recipe_of(problem.config, problem.data, steps)
    if recipe is None:
        return ""
    cached_batches = cached_batches_of(bench, recipe)
    finetune(
        model, problem.data, recipe, seed=bench.seed, teacher=problem.model, cached_batches=cached_batches
    )
    return evaluate(model, problem.data.validation, problem.data.task).value


@cache
def cached_batches_of(bench: Bench, recipe: Recipe) -> Sequence[CachedBatch] | None:
    """The batches of a seed with the original model's answers, the same for every cut."""
    model = bench.problem.model
    teacher = model if recipe.distill > 0 else None
    return cache_batches(bench.problem.data.train, recipe, bench.seed, teacher, device_of(model))


def main() -> None:
    """Run what is missing, record it and show all that is there."""
    arguments = _arguments()
    warnings.simplefilter("once")
    wanted = Wanted(
        tuple(arguments.ways),
        tuple(arguments.levels),
        tuple(arguments.repair),
        arguments.steps,
    )
    file: Path = arguments.output
    done = set()
    if file.exists():
        done = set(pd.read_csv(file)[list(KEY)].itertuples(index=False, name=None))
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        if not done:
            writer.writeheader()
        for seed, study in product(arguments.seeds, arguments.study):
            bench = Bench.of(study, seed)
            print(f"{bench.name}, original: {bench.problem.subject.baseline.score.value:.2%}", flush=True)
            for spec in arguments.criteria:
                try:
                    for row in rows(bench, spec, wanted, done):
                        writer.writerow(
                            {key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()}
                        )
                        out.flush()
                except CriterionError as error:
                    print(f"{spec}: {error}", flush=True)
                    continue
                print(f"{bench.name}: {spec}, seed {seed}", flush=True)
    show(file)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, nargs="+", default=STUDIES)
    parser.add_argument("--criteria", nargs="+", default=SPECS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS)
    parser.add_argument("--repair", nargs="+", default=REPAIRS, choices=REPAIRS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150, help="of fine-tuning; 0 for none")
    parser.add_argument("--output", type=Path, default=HERE / "oneshot.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
