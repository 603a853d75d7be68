"""Does a criterion that was learned at one budget hold at another one, and for another checkpoint?

    python studies/criteria/transfer.py

A search at half of the FLOPs learns a coefficient for each group's sensitivity curve and weights of several
criteria, from models that are repaired, not trained: at half of the FLOPs training hides a plan's worth.
What it learned is applied, without a search, at other budgets and on a second checkpoint, trained with
another seed: with the sensitivity curves that it brings, and with curves remeasured. Beside it stand the
same allocations with all coefficients at 1 and one criterion, and single criteria, uniform and global. Every
cut is compensated, its BatchNorm statistics are recalibrated, and its accuracy is taken on test data, then
again after the study's recovery. Rows that the file holds already are kept.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd

from autoprune.api import run_search
from autoprune.config.settings import Config, load_config
from autoprune.criteria.curve import Curve
from autoprune.criteria.learned import LearnedCriterion, read_criterion
from autoprune.criteria.mixture import Mixture
from autoprune.pruning_search import Problem, prepare
from autoprune.pruning_search.evaluation.evaluate import cut_model, recover
from autoprune.pruning_search.proposals.learned_criterion import allocate
from autoprune.pruning_search.proposals.sensitivity import AT_BUDGET, measure_curves
from autoprune.review import Listener
from autoprune.structure.plans import Widths
from autoprune.tasks import evaluate
from autoprune.workflows.budget_cut import Within, widths_within

HERE = Path(__file__).parent
SINGLE = ("l2", "l1", "linf", "taylor", "fisher/flops")
"""Criteria that lead in ``oneshot.py``; the first one is the study's own, and all of them are mixed."""
KEY = ("checkpoint", "level", "method")
COLUMNS = (*KEY, "flops", "accuracy_before", "accuracy_after")


@dataclass(frozen=True)
class Method:
    """A way to find widths without a search, and what orders the units."""

    name: str
    widths: Callable[[Problem], Widths]
    mixture: Callable[[Problem], Mixture]


def methods(learned: LearnedCriterion) -> list[Method]:
    """The learned criterion with its own curves and with new ones, the curves alone, and single criteria."""
    plain = LearnedCriterion(
        learned.schema,
        {
            name: replace(group, scale=1.0, shift=0.0, weights={SINGLE[0]: 1.0})
            for name, group in learned.groups.items()
        },
        learned.provenance,
        learned.allowed,
    )
    found = []
    for name, criterion in (("learned", learned), ("curves alone", plain)):
        mixture = Mixture({group: entry.weights for group, entry in criterion.groups.items()})
        for suffix, remeasure in ((", its own curves", False), (", curves remeasured", True)):
            found.append(
                Method(
                    name + suffix,
                    lambda problem, criterion=criterion, remeasure=remeasure: _allocated(
                        problem, criterion, remeasure
                    ),
                    lambda _, mixture=mixture: mixture,
                )
            )
    for spec, scope in product(SINGLE, ("local", "global")):
        found.append(
            Method(
                f"{'uniform' if scope == 'local' else scope} {spec}",
                lambda problem, spec=spec, scope=scope: _single(problem, spec, scope),
                lambda problem, spec=spec: Mixture({name: {spec: 1.0} for name in problem.structure.widths}),
            )
        )
    return found


def _allocated(problem: Problem, criterion: LearnedCriterion, remeasure: bool) -> Widths:
    curves = _remeasured_curves(problem) if remeasure else None
    return allocate(
        criterion, problem.pruning, problem.budget_model.limits, problem.budget_model.grids, curves
    )


@cache
def _remeasured_curves(problem: Problem) -> dict[str, Curve]:
    return measure_curves(problem, Listener(), context=AT_BUDGET)


def _single(problem: Problem, spec: str, scope: str) -> Widths:
    within = Within(problem.budget, scope)
    config = problem.config.model_copy(update={"criterion": spec})
    return widths_within(
        within, config, problem.pruning, problem.budget_model.original_costs, problem.budget_model.grids
    )


def rows(
    name: str, config: Config, level: float, learned: LearnedCriterion, done: set[tuple[object, ...]]
) -> Iterator[dict[str, object]]:
    """Every method at one budget on one checkpoint, but for what is done already."""
    wanted = [method for method in methods(learned) if (name, level, method.name) not in done]
    if not wanted:
        return
    budget = (f"flops={level:.0%}",)
    problem = prepare(config.model_copy(update={"budget": budget, "mix": SINGLE[1:]}), Listener())
    task, test = problem.data.task, problem.data.test
    for method in wanted:
        widths = method.widths(problem)
        plan = problem.pruning.plan(widths, method.mixture(problem))
        repaired = cut_model(problem, plan)
        problem.recovery.repair(repaired, plan)
        yield {
            "checkpoint": name,
            "level": level,
            "method": method.name,
            "flops": problem.pruning.costs.costs(widths).flops / problem.budget_model.original_costs.flops,
            "accuracy_before": evaluate(repaired, test, task).value,
            "accuracy_after": evaluate(recover(problem, plan), test, task).value,
        }


def table(file: Path) -> str:
    """Test accuracy in percent: a row a method, best first."""
    found = pd.read_csv(file)
    wide = 100 * found.pivot_table(["accuracy_before", "accuracy_after"], "method", ["checkpoint", "level"])
    order = wide["accuracy_after"].mean(axis=1).sort_values(ascending=False).index
    return wide.loc[order].to_string(float_format="{:.2f}".format)


def learned_at(config: Config, file: Path, level: float, trials: int) -> LearnedCriterion:
    """The criterion of the best trial of a search, made once and then kept in a file."""
    if not file.exists():
        update = {
            "budget": (f"flops={level:.0%}", f"trials={trials}"),
            "study": None,
            "space": "criterion",
            "mix": SINGLE[1:],
            "mix_by": "weights",
            "finetune_steps": 0,
        }
        run_search(config.model_copy(update=update), Listener()).criterion().save(file)
    return read_criterion(file)


def main() -> None:
    """Run what is missing, record it, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, default=HERE.parent / "fashion_mnist_resnet20.toml")
    parser.add_argument("--weights", help="of the first checkpoint; without them it is trained first")
    parser.add_argument("--second-weights", help="of the second checkpoint; without them trained with seed 1")
    parser.add_argument("--learn-at", type=float, default=0.5)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--checkpoints", nargs="*", default=["first", "second"])
    parser.add_argument("--storage", default="sqlite:///transfer.db")
    parser.add_argument("--output", type=Path, default=HERE / "transfer.csv")
    arguments = parser.parse_args()
    common = {"storage": arguments.storage, "latency": False}
    first = load_config(arguments.study, common | {"weights": arguments.weights})
    second = load_config(arguments.study, common | {"weights": arguments.second_weights, "seed": 1})
    file: Path = arguments.output
    learned = learned_at(first, file.with_suffix(".criterion.json"), arguments.learn_at, arguments.trials)
    done = set(pd.read_csv(file)[list(KEY)].itertuples(index=False, name=None)) if file.exists() else set()
    with file.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        if not out.tell():
            writer.writeheader()
        configs = {"first": first, "second": second}
        for name, level in product(arguments.checkpoints, arguments.levels):
            for row in rows(name, configs[name], level, learned, done):
                writer.writerow({key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()})
                out.flush()
                print(f"{name} at {level:.0%}: {row['method']}", flush=True)
    print(table(file))


if __name__ == "__main__":
    main()
