"""The Pareto front: quality against one cost, with the original model, the limit, and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from autoprune.review.figures.picture import BLUE, GREY, VERMILLION, Picture, axis, figure, quality_axis
from autoprune.review.text import quality_text
from autoprune.study.attributes import attributes_of, trials_of
from autoprune.study.estimates import Estimate
from autoprune.study.front import Summary, estimates_of, front_trials, summary, timed_here
from autoprune.study.origins import SAMPLER
from autoprune.study.record import study_record
from autoprune.study.states import SCORED, state_of
from autoprune.utils.printable import html_text

_TWO_SIDED = 1.96
"""Standard errors on either side of a 95 % interval."""


@dataclass(frozen=True)
class Cost:
    """A cost that a front is drawn against.

    Attributes:
        attribute: the trials' user attribute.
        limit: what the budget calls it.
        label: name of the axis, with the unit.
        scale: what limits and costs of the original model are multiplied by for that unit.
    """

    attribute: str
    limit: str
    label: str
    scale: float = 1.0


COSTS: Mapping[str, Cost] = {
    "flops": Cost("flops", "flops", "FLOPs of one sample"),
    "latency": Cost("latency_ms", "latency", "latency in milliseconds", 1e3),
    "parameters": Cost("parameters", "params", "parameters"),
    "size": Cost("size", "size", "size in bytes"),
    "nonzero": Cost("nonzero", "nonzero", "non-zero parameters"),
}


def front_picture(study: optuna.Study, name: str) -> Picture | None:
    """Quality against the cost of that name in ``COSTS``; None if no trial on the front has it.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    cost, study_summary = COSTS[name], summary(study)
    on_front = _points(study, front_trials(study), cost)
    if not on_front:
        return None
    is_limited, chosen = cost.limit in study_summary.limits, {point.trial for point in on_front}
    others = [point for point in _points(study, _evaluated(study), cost) if point.trial not in chosen]
    traces = [
        _scatter(others, "evaluated, not on the front", _OTHER),
        _scatter(on_front, "front", {**_FRONT, **_bars(on_front), "mode": _mode(on_front, study_summary)}),
        _scatter(
            [point for point in on_front if point.trial == study_summary.best],
            "best within the budget",
            _BEST,
        ),
        _scatter(_original(study_summary, cost), "original model", _REFERENCE),
    ]
    drawn = figure(
        [trace for trace in traces if trace.x],
        axis(cost.label, rangemode="tozero", hoverformat=".4~s", exponentformat="SI"),
        quality_axis(study_summary.metric),
        shapes=[_limit_line(study_summary.limits[cost.limit] * cost.scale)] if is_limited else [],
        hovermode="closest",
    )
    return Picture(
        name=f"front-{name}",
        title=f"Front: {study_summary.metric} against {_short(cost)}",
        alt=_alt(on_front, cost, study_summary),
        caption="The trials within the budget that no other trial beats in every objective. Bars are 95 % "
        f"intervals, if available{'; the dotted line is the budget' if is_limited else ''}.",
        figure=drawn,
    )


_FRONT = {"marker": {"color": BLUE, "size": 10}, "line": {"color": BLUE, "width": 1}}
_OTHER = {"mode": "markers", "marker": {"color": GREY, "size": 7, "symbol": "circle-open"}}
_BEST = {
    "mode": "markers",
    "marker": {"color": VERMILLION, "size": 18, "symbol": "circle-open", "line": {"width": 3}},
}


_REFERENCE = {"mode": "markers", "marker": {"color": VERMILLION, "size": 12, "symbol": "diamond"}}


@dataclass(frozen=True)
class _Point:
    """A trial in the figure, with the lower and upper half-widths of its intervals."""

    text: str
    x: float
    y: float
    x_bars: tuple[float, float] = (0.0, 0.0)
    y_bars: tuple[float, float] = (0.0, 0.0)
    trial: int | None = None


def _evaluated(study: optuna.Study) -> list[FrozenTrial]:
    """Trials with a measured quality, each plan once, timed on the study's current device or not at all."""
    record = study_record(study)
    trials = trials_of(study)
    return [trial for trial in trials if state_of(trial) in SCORED and timed_here(trial, record)]


def _points(study: optuna.Study, trials: Sequence[FrozenTrial], cost: Cost) -> list[_Point]:
    """The trials that have the cost, the cheapest first."""
    original = summary(study).baseline.latency_ms
    recorded = {trial.number: attributes_of(trial).known([cost.attribute]) for trial in trials}
    costs: dict[int, float] = {number: row[cost.attribute] for number, row in recorded.items() if row}
    known = [trial for trial in trials if trial.number in costs]
    points = []
    for trial, estimate in zip(known, estimates_of(study, known), strict=True):
        origin = attributes_of(trial).origin or SAMPLER
        points.append(
            _Point(
                text=html_text(f"trial {trial.number} ({origin})"),
                x=costs[trial.number],
                y=estimate.quality,
                x_bars=_latency_bars(trial, original) if cost.attribute == "latency_ms" else (0.0, 0.0),
                y_bars=_quality_bars(estimate),
                trial=trial.number,
            )
        )
    return sorted(points, key=lambda point: point.x)


def _mode(points: Sequence[_Point], study_summary: Summary) -> str:
    """Join the points by a line only if quality rises with cost throughout."""
    sign = 1 if study_summary.higher_is_better else -1
    rises = all(sign * (second.y - first.y) >= 0 for first, second in pairwise(points))
    return "lines+markers" if rises else "markers"


def _quality_bars(estimate: Estimate) -> tuple[float, float]:
    """The half-widths of the interval, or of the standard error without one."""
    half = _TWO_SIDED * (estimate.error or 0.0)
    low = estimate.quality - half if estimate.low is None else estimate.low
    high = estimate.quality + half if estimate.high is None else estimate.high
    return estimate.quality - low, high - estimate.quality


def _latency_bars(trial: FrozenTrial, original: float | None) -> tuple[float, float]:
    """Intervals of latencies are recorded as ratios to the original model's."""
    known = attributes_of(trial)
    ratio, low, high = known.latency_ratio, known.latency_low, known.latency_high
    if original is None or ratio is None or low is None or high is None:
        return 0.0, 0.0
    return (ratio - low) * original, (high - ratio) * original


def _bars(points: Sequence[_Point]) -> dict[str, Any]:
    """Plotly's error bars, along each axis that has any."""
    known = {"error_x": [point.x_bars for point in points], "error_y": [point.y_bars for point in points]}
    style = {"type": "data", "thickness": 1, "width": 3, "color": BLUE}
    return {
        name: {**style, "arrayminus": [low for low, _ in bars], "array": [high for _, high in bars]}
        for name, bars in known.items()
        if any(low or high for low, high in bars)
    }


def _scatter(points: Sequence[_Point], name: str, style: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        text=[point.text for point in points],
        hovertemplate="%{text}<br>%{y} at %{x}<extra></extra>",
        name=name,
        **style,
    )


def _original(study_summary: Summary, cost: Cost) -> list[_Point]:
    """The original model, if it has the cost; without a count of its non-zeros, all parameters count."""
    value = getattr(study_summary.baseline, cost.attribute)
    if value is None and cost.attribute == "nonzero":
        value = study_summary.baseline.parameters
    return [] if value is None else [_Point("original model", value, study_summary.baseline.quality)]


def _limit_line(value: float) -> dict[str, Any]:
    line = {"color": VERMILLION, "width": 2, "dash": "dot"}
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": value,
        "x1": value,
        "y0": 0,
        "y1": 1,
        "line": line,
    }


def _short(cost: Cost) -> str:
    return cost.label.partition(" in ")[0].partition(" of ")[0]


def _alt(points: Sequence[_Point], cost: Cost, study_summary: Summary) -> str:
    ends = [
        f"{quality_text(study_summary.metric, point.y)} at {point.x:.3g}" for point in (points[0], points[-1])
    ]
    count = f"{len(points)} points on the front, from {ends[0]} to {ends[1]}"
    if len(points) == 1:
        count = f"One point on the front: {ends[0]}"
    metric = study_summary.metric
    original = quality_text(metric, study_summary.baseline.quality)
    return f"Scatter plot of {metric} against {cost.label}. {count}; the original model has {original}."
