"""The table and the picture of what ``run.py`` recorded.

    python studies/benchmarks/summary.py --cases resnet20

For each level, a method's model is the one of best validation accuracy among those that meet the level, to
half a point of the original's multiply-adds; its test accuracy is shown, as mean and standard error over the
seeds. The hypervolume is the share of the box to 15 % test error and all multiply-adds that the models
dominate which are best by validation data. The last table says after how many seconds ours has the
hypervolume that another method has in the end, and the least that ours has from two minutes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import moocore
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from subject import LEVELS

HERE = Path(__file__).parent
WORST = (0.15, 1.0)
"""Test error and share of the multiply-adds beyond which a model counts for nothing."""
SLACK = 0.005
"""Of the original's multiply-adds, by which a level may be missed: methods count and round differently."""
OURS = "autoprune"
EARLY = 120.0
"""Seconds after which ours is to be ahead of what others have in the end."""
PEER_OF_SEVERAL = "Torch-Pruning"
"""Has several methods: they share one clock, and are shown one by one and together."""
UNTRAINED = ", untrained"


def recorded(folder: Path) -> pd.DataFrame:
    """All points of a case."""
    return pd.concat(map(pd.read_csv, sorted(folder.glob("*.csv"))), ignore_index=True)


def at_levels(points: pd.DataFrame) -> pd.DataFrame:
    """A row a method and seed: test accuracy in percent at every level; NaN where nothing meets it."""
    rows = []
    for (method, seed), found in points.groupby(["method", "seed"]):
        row: dict[str, object] = {"method": method, "seed": seed}
        for level in LEVELS:
            meeting = found[found["flops"] <= level + SLACK]
            best = meeting.loc[meeting["validation"].idxmax(), "test"] if len(meeting) else np.nan
            row[f"{level:.0%}"] = 100 * best
        rows.append(row)
    return pd.DataFrame(rows)


def together(points: pd.DataFrame) -> pd.DataFrame:
    """The same points with the methods of the peer that has several taken for one."""
    of_peer = points["method"].str.startswith(PEER_OF_SEVERAL)
    suffix = np.where(points["method"].str.endswith(UNTRAINED), UNTRAINED, "")
    names = np.where(of_peer, PEER_OF_SEVERAL + suffix, points["method"])
    return points.assign(method=names)


def hypervolume(points: pd.DataFrame) -> float:
    """Of the models that are best by validation data, in percent of the box, measured on test data."""
    chosen = points[moocore.is_nondominated(np.column_stack([1 - points["validation"], points["flops"]]))]
    tested = np.column_stack([1 - chosen["test"], chosen["flops"]])
    return 100 * float(moocore.hypervolume(tested, ref=WORST)) / (WORST[0] * WORST[1])


def growth(points: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds at which one run had a new model, and its hypervolume then."""
    ordered = points.sort_values("seconds")
    values = [hypervolume(ordered.iloc[: count + 1]) for count in range(len(ordered))]
    return ordered["seconds"].to_numpy(), np.array(values)


def overtaken(points: pd.DataFrame) -> pd.DataFrame:
    """Other method -> its seconds and final hypervolume, and ours beside that; means over the seeds."""
    rows = []
    for (method, seed), found in together(points).groupby(["method", "seed"]):
        ours = points[(points["method"] == OURS) & (points["seed"] == seed)]
        if method == OURS or method.endswith(UNTRAINED) or ours.empty:
            continue
        final, (seconds, values) = hypervolume(found), growth(ours)
        reached = seconds[values >= final]
        first = float(reached[0]) if len(reached) else np.nan
        ready = int((seconds <= EARLY).sum())
        least = float(values[ready - 1 :].min()) if ready else 0.0
        rows.append((method, found["seconds"].max(), final, first, least))
    columns = ["method", "its seconds", "its hypervolume", "our seconds", "ours, least after 2 minutes"]
    return pd.DataFrame(rows, columns=columns).groupby("method").mean().round(1)


def table(points: pd.DataFrame) -> str:
    """Mean and standard error over the seeds, in percent, best at half of the multiply-adds first."""
    wide = at_levels(points).drop(columns="seed")
    means, errors = wide.groupby("method").mean(), wide.groupby("method").sem()
    order = means["50%"].sort_values(ascending=False).index
    lines = ["| test accuracy, % | " + " | ".join(means.columns) + " |", "|---" * (len(LEVELS) + 1) + "|"]
    for method in order:
        cells = [
            "-" if np.isnan(mean) else f"{mean:.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")
            for mean, error in zip(means.loc[method], errors.loc[method], strict=True)
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(points: pd.DataFrame, file: Path) -> None:
    """Hypervolume against time, a line a method, thin for single seeds."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for number, (method, found) in enumerate(together(points).groupby("method")):
        if method.endswith(UNTRAINED):
            continue
        for position, (_, one) in enumerate(found.groupby("seed")):
            seconds, values = growth(one)
            label = method if position == 0 else None
            axes.step(seconds / 60, values, where="post", color=f"C{number}", label=label)
    axes.set(xlabel="minutes", ylabel="hypervolume, % of the box")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """Print the tables and draw the pictures of all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=HERE)
    given = parser.parse_args()
    for case in given.cases:
        points = recorded(given.folder / case)
        print(case, table(points), sep="\n\n", end="\n\n")
        final = together(points).groupby(["method", "seed"])[list(points)].apply(hypervolume)
        print(final.groupby("method").agg(["mean", "sem"]).sort_values("mean", ascending=False).round(2))
        print(overtaken(points).to_string())
        picture(points, given.folder / case / "hypervolume.svg")


if __name__ == "__main__":
    main()
