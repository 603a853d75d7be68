"""What all figures of a study share: colours, axes, and a description in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from autoprune.review.text import is_share
from autoprune.utils.printable import html_text

BLUE, VERMILLION, GREEN, PURPLE, SKY, GREY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#7f7f7f",
)
"""Okabe and Ito's colour-blind-safe palette (2008), readable on white and on black."""
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY)
"""Colours of individual series; grey is for the rest."""
GRID = "rgba(127,127,127,0.25)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure and its description.

    Attributes:
        name: a word for files and pages, such as ``"front-flops"``.
        title: its heading.
        alt: what it shows, for those who cannot see it.
        caption: how to read it; empty where it explains itself.
        figure: the picture, without a title.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: go.Figure


def axis(title: str, **settings: Any) -> dict[str, Any]:
    """An axis with its name."""
    return {
        "title": {"text": html_text(title), "standoff": 8},
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": GRID,
        **settings,
    }


def quality_axis(metric: str) -> dict[str, Any]:
    """The axis of a quality metric; accuracies are shares, shown in percent."""
    shown = {"tickformat": ".4~%", "hoverformat": ".2%"} if is_share(metric) else {}
    return axis(f"{metric} (validation)", **shown)


def figure(
    traces: list[Any], x: Mapping[str, Any], y: Mapping[str, Any], *, height: int = 420, **layout: Any
) -> go.Figure:
    """A figure with a legend below it, narrow enough for a phone, with a transparent background.

    Lists go in rather than arrays, which Optuna Dashboard's older plotly.js could not read.
    """
    return go.Figure(
        data=traces,
        layout={
            # Without this Plotly copies its own template, several kB, into every figure.
            "template": {"layout": {}},
            "xaxis": dict(x),
            "yaxis": dict(y),
            "height": height,
            "font": {"family": _FONT, "size": 13},
            "margin": {"l": 16, "r": 16, "t": 16, "b": 16},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
            "hoverlabel": {"align": "left"},
            **layout,
        },
    )


def with_title(picture: Picture) -> go.Figure:
    """The figure on its own: with its title, on white."""
    alone = go.Figure(picture.figure)
    alone.update_layout(
        title={"text": html_text(picture.title), "x": 0, "xref": "paper", "font": {"size": 16}},
        margin={"t": 48},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"color": "#1c1c1c"},
    )
    return alone
