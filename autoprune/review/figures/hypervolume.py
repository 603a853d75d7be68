"""The front's hypervolume against search time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate

import moocore
import numpy as np
import optuna
import plotly.graph_objects as go
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from autoprune.review.figures.picture import BLUE, Picture, axis, figure
from autoprune.study.attributes import trials_of
from autoprune.study.front import feasible_trials
from autoprune.utils.quantities import human_seconds


def hypervolume_picture(study: optuna.Study) -> Picture | None:
    """Hypervolume of the feasible front, as a share of the last one; None with fewer than two points.

    The reference point is the worst value of each objective over all feasible trials. Times are seconds
    in which at least one trial ran: pauses between two runs of a search do not count.
    """
    trials = [trial for trial in feasible_trials(study) if trial.datetime_complete is not None]
    trials.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    volumes = _volumes(trials, study.directions)
    if len(trials) < 2 or volumes[-1] <= 0:
        return None
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    seconds = _working_seconds(trials_of(study), ends)
    shares = [volume / volumes[-1] for volume in volumes]
    unit, scale = ("minutes", 60.0) if seconds[-1] >= 180 else ("seconds", 1.0)
    drawn = figure(
        [
            go.Scatter(
                x=[second / scale for second in seconds],
                y=shares,
                text=[f"trial {trial.number}" for trial in trials],
                hovertemplate="%{text}<br>%{y} after %{x:.1f} " + unit + "<extra></extra>",
                mode="lines+markers",
                line={"color": BLUE, "shape": "hv"},
                marker={"size": 5},
            )
        ],
        axis(f"time spent on trials in {unit}", rangemode="tozero"),
        axis("hypervolume, share of the last", tickformat=".0%", hoverformat=".1%", rangemode="tozero"),
        height=340,
        showlegend=False,
    )
    reached = next(second for second, share in zip(seconds, shares, strict=True) if share >= 0.99)
    alt = (
        f"Step line of the front's hypervolume over {human_seconds(seconds[-1])}. It reaches 99 % of its "
        f"last value after {human_seconds(reached)}."
    )
    caption = "If the line has been flat for long, more trials would find little more."
    return Picture("hypervolume", "Hypervolume of the front against time", alt, caption, drawn)


def _volumes(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[float]:
    """Hypervolume after each trial, in a box whose sides are the ranges of the objectives."""
    if not trials:
        return []
    signs = np.array([-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in directions])
    losses: NDArray[np.float64] = signs * np.array([trial.values for trial in trials], dtype=float)
    low, high = losses.min(axis=0), losses.max(axis=0)
    losses = (losses - low) / np.where(high > low, high - low, 1.0)
    # Slightly worse than the worst point, so that the ends of the front count too.
    reference = np.full(losses.shape[1], 1.1)
    return [float(moocore.hypervolume(losses[: count + 1], ref=reference)) for count in range(len(losses))]


def _working_seconds(trials: Iterable[FrozenTrial], ends: Sequence[datetime]) -> list[float]:
    """For each time, the seconds before it in which some trial ran."""
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    )
    merged: list[tuple[datetime, datetime]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    starts = [start for start, _ in merged]
    before = [0.0, *accumulate((end - start).total_seconds() for start, end in merged)]
    seconds = []
    for time in ends:
        begun = bisect_left(starts, time)
        unfinished = (merged[begun - 1][1] - time).total_seconds() if begun else 0.0
        seconds.append(before[begun] - max(0.0, unfinished))
    return seconds
