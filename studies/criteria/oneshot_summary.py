"""The tables and the picture of what ``oneshot.py`` recorded.

    python studies/criteria/oneshot_summary.py

Of each model and repair, the seeds that have every cut are shown, so that means compare. The last table shows
what the choice of the criterion is worth after fine-tuning, and what compensation is.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import pyplot as plt

matplotlib.use("svg")
plt.rcParams["svg.hashsalt"] = "oneshot"
HERE = Path(__file__).parent
KEY = ("model", "criterion", "way", "level", "seed", "repair")
REPAIRS = ("none", "batchnorm", "compensation")
SCORES = ("accuracy", "accuracy_after")
COLOURS = {"uniform": "#0072b2", "global": "#d55e00"}
WAYS = tuple(COLOURS)
SHOWN_FROM = 0.1
"""Quantile of the accuracies before fine-tuning at which a panel of the picture begins."""
TENTH = 0.1
"""Share of the criteria at either end that counts as the best or the poorest."""


def complete(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of the seeds that have all that any seed has of a model and repair, ordered for tables."""
    cuts = found.groupby(["model", "repair", "seed"])["criterion"].transform("size")
    kept = found[cuts == cuts.groupby([found["model"], found["repair"]]).transform("max")]
    orders = {
        "model": dict.fromkeys(kept["model"]),
        "way": WAYS,
        "repair": REPAIRS,
        "level": sorted(set(kept["level"]), reverse=True),
    }
    return kept.astype({name: pd.CategoricalDtype(list(order)) for name, order in orders.items()})


def by_criterion(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent, untrained (fine-tuned); the best fine-tuned mean is first."""
    untrained, tuned = (_means(found, score, ["criterion", "way", "level"]) for score in SCORES)
    means = tuned.groupby("criterion").mean().sort_values(ascending=False, kind="stable")
    cells = _pairs(untrained, tuned).unstack(["way", "level"]).loc[means.index]
    cells.columns = [f"{way} {level:.0%}" for way, level in cells.columns]
    return cells.assign(**{"mean, fine-tuned": means})


def by_repair(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent as the mean over all criteria and seeds, untrained (fine-tuned)."""
    where = ["model", "way", "repair"]
    untrained, tuned = (_means(found, score, [*where, "level"]) for score in SCORES)
    cells = _pairs(untrained, tuned).unstack("level").rename(columns="{:.0%}".format)
    seeds = found.groupby(where, observed=True)["seed"].unique()
    return cells.assign(seeds=seeds.map(lambda some: ", ".join(map(str, sorted(some))))).reset_index()


def worth(found: pd.DataFrame) -> pd.DataFrame:
    """Points of accuracy, fine-tuned: the spread of the criteria, and what compensation adds to a seed."""
    where = ["model", "way", "level"]
    of_criterion, of_seed = (
        _means(found, SCORES[1], [*where, each, "repair"]).unstack("repair").reindex(columns=REPAIRS)
        for each in ("criterion", "seed")
    )
    criteria = of_criterion["compensation"].groupby(where, observed=True)
    gain = (of_seed["compensation"] - of_seed["none"]).groupby(where, observed=True)
    columns = {
        "best less poorest tenth of the criteria": criteria.quantile(1 - TENTH) - criteria.quantile(TENTH),
        "compensation, least": gain.min(),
        "compensation, most": gain.max(),
    }
    return pd.DataFrame(columns).reset_index()


def _means(found: pd.DataFrame, score: str, where: list[str]) -> pd.Series[float]:
    return 100 * found.groupby(where, observed=True)[score].mean()


def _pairs(untrained: pd.Series[float], tuned: pd.Series[float]) -> pd.Series[str]:
    return untrained.map("{:.1f}".format) + " (" + tuned.map("{:.1f}".format) + ")"


def picture(found: pd.DataFrame, file: Path) -> None:
    """Accuracy of every criterion, a panel a model and level: open before fine-tuning, full after it.

    Accuracies below most others are arrows at the left edge.
    """
    models, levels = found["model"].cat.categories, found["level"].cat.categories
    # A criterion that cannot rank one of the networks has its place by what it is worth on the other.
    usual = found.groupby(["model", "level"], observed=True)["accuracy"].transform("mean")
    order = (found["accuracy"] - usual).groupby(found["criterion"]).mean().sort_values().index
    places = range(len(order))
    figure, panels = plt.subplots(
        len(models),
        len(levels),
        figsize=(3.2 * len(levels) + 2.4, (0.22 * len(order) + 1.0) * len(models)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels[0][0].set_yticks(places, order)
    for (row, model), (column, level) in product(enumerate(models), enumerate(levels)):
        axes, some = panels[row][column], found[(found["model"] == model) & (found["level"] == level)]
        left = 100 * some["accuracy"].quantile(SHOWN_FROM)
        for way, colour in COLOURS.items():
            means = some[some["way"] == way].groupby("criterion")[list(SCORES)].mean()
            means = (100 * means.reindex(order)).clip(lower=left)
            for name, fill in zip(SCORES, ("none", colour), strict=True):
                for mark, shown in {"o": means[name] > left, "<": means[name] == left}.items():
                    drawn = means[name].where(shown)
                    axes.scatter(drawn, places, s=18, marker=mark, facecolors=fill, edgecolors=colour)
            axes.scatter([], [], s=18, color=colour, label=way)
        axes.set_title(f"{model}, {level:.0%} of the FLOPs", size=10)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if row == len(models) - 1:
            axes.set_xlabel("validation accuracy, %")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def show(file: Path) -> None:
    """Print the tables of a record and draw its picture beside it: criteria by what they give compensated."""
    found = complete(pd.read_csv(file))
    compensated = found[found["repair"] == "compensation"]
    for model, some in compensated.groupby("model", observed=True):
        print(f"\n{model}, compensated\n\n{by_criterion(some).to_markdown(floatfmt='.2f')}")
    for table in (by_repair(found), worth(found)):
        print(f"\n{table.to_markdown(index=False, floatfmt='.2f')}")
    if len(compensated):
        picture(compensated, file.with_suffix(".svg"))


def main() -> None:
    """Show a record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path, nargs="?", default=HERE / "oneshot.csv")
    show(parser.parse_args().record)


if __name__ == "__main__":
    main()
