"""Record a study's result beside its file: all trials, the front, and a picture of it.

python studies/record.py sqlite:///autoprune.db fashion-mnist-resnet20 studies/fashion_mnist_resnet20
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import optuna
import pandas as pd
from matplotlib import pyplot as plt

from autoprune import review
from autoprune.study.front import estimates_of
from autoprune.study.origins import EXACT, GAP, GREEDY, PREVIEW, SAMPLER
from autoprune.study.states import SCORED, state_of

matplotlib.use("svg")
COLUMNS = ("origin", "flops", "flops_ratio", "parameters", "latency_ms", "latency_ratio")
COLOURS = {
    SAMPLER: "#0072b2",
    GAP: "#000000",
    EXACT: "#e69f00",
    GREEDY: "#56b4e9",
    "uniform": "#d55e00",
    "global l2": "#009e73",
    "global taylor": "#cc79a7",
}
KEPT = (*SCORED, "STOPPED")
"""States of plans that are recorded; the quality of one that was stopped early is a forecast."""


def trials(study: optuna.Study) -> pd.DataFrame:
    """One row an evaluated plan, two where it was scored without training first."""
    scored = [trial for trial in study.get_trials(deepcopy=False) if state_of(trial) in KEPT]
    rows = [
        {"trial": trial.number, "state": state_of(trial)}
        | {name: trial.user_attrs.get(name) for name in COLUMNS}
        | {"quality": estimate.quality, "guiding_quality": trial.values[0]}
        for trial, estimate in zip(scored, estimates_of(study, scored), strict=True)
    ]
    return pd.DataFrame(rows)


def picture(every: pd.DataFrame, front: pd.DataFrame, summary: review.Summary, file: Path) -> None:
    """Quality on the validation split against FLOPs, by the method that suggested the plan.

    Qualities are those by which the front is ranked, of what is not ranked those that guided the search.
    Plans that were scored without training are rings; those stopped early are left out.
    """
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    shown = every[every["state"] != "STOPPED"]
    places = 100 * shown[["flops_ratio", "quality"]]
    methods, untrained = shown["origin"].str.removesuffix(PREVIEW), shown["state"] == "PREVIEW"
    for method, colour in COLOURS.items():
        rings, discs = places[(methods == method) & untrained], places[(methods == method) & ~untrained]
        axes.scatter(*rings.to_numpy().T, s=22, facecolors="none", edgecolors=colour)
        if len(discs):
            axes.scatter(*discs.to_numpy().T, s=22, c=colour, label=method, alpha=0.8)
    if untrained.any():
        axes.scatter([], [], s=22, facecolors="none", edgecolors="#555555", label="untrained")
    metric = summary.metric
    ordered = front.sort_values("flops_ratio")
    axes.step(
        100 * ordered["flops_ratio"], 100 * ordered[metric], where="post", c="#555555", lw=1, label="front"
    )
    axes.axhline(100 * summary.baseline.quality, c="#999999", ls="--", lw=1)
    axes.annotate(
        "original", (100 * every["flops_ratio"].min(), 100 * summary.baseline.quality), va="bottom", size=9
    )
    axes.set_xlabel("FLOPs, % of the original model")
    axes.set_ylabel(f"validation {metric}, %")
    axes.set_title(f"{summary.name}: {len(shown)} models", size=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Write ``trials.csv``, ``front.csv`` and ``front.svg``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("study")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    study = review.open_study(arguments.storage, arguments.study)
    every, front = trials(study), review.front(study)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    every.to_csv(arguments.folder / "trials.csv", index=False, float_format="%.6g")
    front.to_csv(arguments.folder / "front.csv", index=False, float_format="%.6g")
    picture(every, front, review.summary(study), arguments.folder / "front.svg")


if __name__ == "__main__":
    main()
