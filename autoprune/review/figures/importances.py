"""Importance of each group for the quality of a trial."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go

from autoprune.review.figures.picture import BLUE, Picture, axis, figure
from autoprune.review.text import share_text
from autoprune.study.importances import importances
from autoprune.study.record import study_record
from autoprune.utils.printable import html_text

_SHOWN = 20
_ROW, _FRAME = 20, 110


def importances_picture(study: optuna.Study) -> Picture | None:
    """Importance of each group's width to the quality by fANOVA; None for too few different trials."""
    found = importances(study)
    if found is None:
        return None
    shares = found.shares
    shown = dict(list(shares.items())[:_SHOWN])
    metric = study_record(study)["metric"]
    drawn = figure(
        [
            go.Bar(
                x=list(shown.values()),
                y=list(map(html_text, shown)),
                orientation="h",
                marker={"color": BLUE},
                hovertemplate="%{y}: %{x}<extra></extra>",
            )
        ],
        axis("share of the variance", tickformat=".0%", hoverformat=".1%", rangemode="tozero"),
        axis("group", type="category", ticks="", autorange="reversed", tickfont={"size": 11}),
        height=_FRAME + _ROW * max(4, len(shown)),
        showlegend=False,
    )
    first = next(iter(shown))
    more = f" Only the {len(shown)} largest of {len(shares)} are shown." if len(shown) < len(shares) else ""
    return Picture(
        "importances",
        f"Importance of the groups for {metric}",
        f"Bar chart. {first} explains most of the variance of {metric}, {share_text(shown[first])} of it.",
        found.caveat + more,
        drawn,
    )
