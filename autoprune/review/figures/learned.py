"""What a study learned about the groups: their sensitivity and the criterion of a trial."""

from __future__ import annotations

from math import log2

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from autoprune.review.figures.picture import BLUE, COLOURS, GREY, VERMILLION, Picture, axis, figure
from autoprune.study.explanation import coefficients, measured_curves, shares_of_criteria
from autoprune.study.front import summary
from autoprune.study.record import study_record
from autoprune.utils.printable import html_text

_MOST_POINTS = 17
"""Number of points per curve."""
_ROW, _FRAME, _LEAST = 20, 110, 260
_MOST_CURVES = 60
_OTHER = {"color": GREY, "width": 1}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Line styles, so that lines differ by more than their colour."""


def sensitivity_picture(study: optuna.Study) -> Picture | None:
    """The sensitivity curve of each group, the most sensitive in colour; None if none are measured."""
    curves = {name: curve for name, curve in measured_curves(study).items() if len(curve.widths) > 1}
    if not curves:
        return None
    steepest = sorted(curves, key=lambda name: -curves[name].losses[0])
    shown = steepest[:_MOST_CURVES]
    traces = []
    for place, name in enumerate(shown):
        curve = curves[name]
        step = max(1, -(-len(curve.widths) // _MOST_POINTS))
        at = sorted({0, len(curve.widths) - 1, *range(0, len(curve.widths), step)})
        coloured = place < len(COLOURS)
        style = {"color": COLOURS[place], "dash": _DASHES[place], "width": 2} if coloured else _OTHER
        traces.append(
            go.Scatter(
                x=[round(curve.widths[point] / curve.widths[-1], 4) for point in at],
                y=[round(curve.losses[point], 5) for point in at],
                name=html_text(name) if coloured else "others",
                legendgroup=name if coloured else "others",
                showlegend=place <= len(COLOURS),
                mode="lines",
                line=style,
                text=[html_text(name)] * len(at),
                hovertemplate="%{text}<br>" + "%{x} of its units: %{y:.3f} more<extra></extra>",
            )
        )
    drawn = figure(
        traces,
        axis("share of the group's units that stay", tickformat=".0%", hoverformat=".0%"),
        axis("increase of the loss", rangemode="tozero"),
    )
    return Picture(
        "sensitivity",
        "Sensitivity of the groups",
        f"Curves of {len(shown)} groups. Pruning {steepest[0]} costs most, {steepest[-1]} least.",
        "Measured: one group is pruned in a model that is otherwise pruned uniformly to 60 % of the budget, "
        "without training.",
        drawn,
    )


def criterion_picture(study: optuna.Study, number: int | None = None) -> Picture | None:
    """Scales of a trial's criterion, by default of the best trial; None if none of them differ."""
    trial = _trial(study, number)
    if trial is None:
        return None
    scales, shifts = coefficients(study_record(study), trial)
    if len(set(scales.values())) < 2:
        return None
    drawn = figure(
        [
            go.Bar(
                x=[round(log2(scale), 4) for scale in scales.values()],
                y=list(map(html_text, scales)),
                orientation="h",
                customdata=[
                    [f"{scale:.2f}", f"{shifts.get(name, 0.0):.2f}"] for name, scale in scales.items()
                ],
                marker={"color": [BLUE if scale >= 1 else VERMILLION for scale in scales.values()]},
                hovertemplate="%{y}: times %{customdata[0]}, plus %{customdata[1]}<extra></extra>",
            )
        ],
        axis("what the group's loss is multiplied by", tickvals=[-1, 0, 1], ticktext=["½", "1", "2"]),
        axis("group", type="category", ticks="", autorange="reversed", tickfont={"size": 11}),
        height=max(_LEAST, _FRAME + _ROW * len(scales)),
        showlegend=False,
    )
    most, least = max(scales, key=lambda name: scales[name]), min(scales, key=lambda name: scales[name])
    return Picture(
        "criterion",
        f"Criterion of trial {trial.number}",
        f"Bar chart of {len(scales)} groups. The search protects {most} most and {least} least.",
        "The factor of each measured curve: recovery restores some groups better than others.",
        drawn,
    )


def mixture_picture(study: optuna.Study, number: int | None = None) -> Picture | None:
    """Which criteria rank the units of each group in a trial, by default the best one.

    None where there was no choice.
    """
    trial, record = _trial(study, number), study_record(study)
    if trial is None or not record.get("config", {}).get("mix"):
        return None
    rows = shares_of_criteria(record, trial)
    criteria = list(dict.fromkeys(name for row in rows.values() for name in row))
    if not rows:
        return None
    drawn = figure(
        [
            go.Heatmap(
                x=list(map(html_text, criteria)),
                y=list(map(html_text, rows)),
                z=[[round(row.get(name, 0.0), 4) for name in criteria] for row in rows.values()],
                zmin=0,
                zmax=1,
                colorscale="Cividis",
                xgap=1,
                ygap=1,
                hovertemplate="%{y}: %{x} counts %{z:.0%}<extra></extra>",
                colorbar={"title": {"text": "share", "side": "right"}, "tickformat": ".0%", "thickness": 10},
            )
        ],
        axis("criterion", type="category", ticks=""),
        axis("group", type="category", ticks="", autorange="reversed", tickfont={"size": 11}),
        height=max(_LEAST, _FRAME + _ROW * len(rows)),
    )
    return Picture(
        "mixture",
        f"What ranks the units in trial {trial.number}",
        f"Heat map of {len(rows)} groups and the criteria {', '.join(criteria)}.",
        "The weight of each criterion in ranking the units of a group.",
        drawn,
    )


def _trial(study: optuna.Study, number: int | None) -> FrozenTrial | None:
    """The trial of that number, or the best one; None if no trial is within the budget."""
    number = summary(study).best if number is None else number
    return None if number is None else study.get_trials(deepcopy=False)[number]
