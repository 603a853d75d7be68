"""Predicted latency against measured latency."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go

from autoprune.review.figures.picture import BLUE, GREY, Picture, axis, figure
from autoprune.study.attributes import attributes_of, trials_of


def latency_picture(study: optuna.Study) -> Picture | None:
    """Both as shares of the original model's latency, for trials that have both; None if none has."""
    known = [
        (trial.number, found.latency_predicted, found.latency_ratio)
        for trial in trials_of(study)
        if (found := attributes_of(trial)).latency_predicted is not None and found.latency_ratio
    ]
    if not known:
        return None
    numbers, predicted, measured = zip(*known, strict=True)
    top = max(*predicted, *measured, 1.0)
    percent = {"tickformat": ".0%", "hoverformat": ".1%", "rangemode": "tozero"}
    drawn = figure(
        [
            go.Scatter(
                x=[0, top],
                y=[0, top],
                mode="lines",
                line={"color": GREY, "dash": "dot"},
                name="equal",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=list(predicted),
                y=list(measured),
                mode="markers",
                marker={"color": BLUE, "size": 8},
                text=[f"trial {number}" for number in numbers],
                hovertemplate="%{text}<br>predicted %{x}, measured %{y}<extra></extra>",
                name="trial",
            ),
        ],
        axis("predicted latency, share of the original", **percent),
        axis("measured latency, share of the original", **percent),
    )
    errors = sorted(abs(p - m) / m for p, m in zip(predicted, measured, strict=True))
    alt = (
        f"Scatter plot of {len(numbers)} trials. The median error of the prediction is "
        f"{errors[len(errors) // 2]:.1%} of the measured latency."
    )
    caption = "Predictions only choose what is tried; every reported latency was measured."
    return Picture("latency", "Predicted and measured latency", alt, caption, drawn)
