"""Units kept in each group by each trial on the front, as a heat map."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from autoprune.review.figures.picture import Picture, axis, figure
from autoprune.review.text import share_text
from autoprune.study.attributes import attributes_of
from autoprune.study.front import front_trials
from autoprune.study.record import study_record
from autoprune.utils.printable import html_text

_ROW, _FRAME, _LEAST = 20, 90, 260
"""Pixels per group, for the margins, and as a minimum in total."""
_MOST_TEXTS = 400
"""Number of cells beyond which numbers in them would be illegible."""


def widths_picture(study: optuna.Study) -> Picture | None:
    """Share of units kept, group by group, for each trial on the front; None if nothing was pruned."""
    full: dict[str, int] = study_record(study)["groups"]
    trials = [trial for trial in front_trials(study) if attributes_of(trial).widths]
    trials.sort(key=lambda trial: attributes_of(trial).flops or 0)
    if not trials or not full:
        return None
    groups = list(full)
    shares = [[_kept(trial, group, full) / full[group] for trial in trials] for group in groups]
    counts = [[f"{_kept(trial, group, full)} of {full[group]}" for trial in trials] for group in groups]
    drawn = figure(
        [
            go.Heatmap(
                x=[str(trial.number) for trial in trials],
                y=list(map(html_text, groups)),
                z=shares,
                customdata=counts,
                zmin=0,
                zmax=1,
                colorscale="Cividis",
                xgap=1,
                ygap=1,
                texttemplate="%{z:.0%}"
                if len(trials) * len(groups) <= _MOST_TEXTS and len(trials) <= 12
                else "",
                hovertemplate="%{y}, trial %{x}<br>%{customdata} units kept<extra></extra>",
                colorbar={
                    "title": {"text": "units kept", "side": "right"},
                    "tickformat": ".0%",
                    "thickness": 10,
                },
            )
        ],
        axis("trial, the cheapest first", type="category", ticks=""),
        axis("group", type="category", ticks="", autorange="reversed", tickfont={"size": 11}),
        height=max(_LEAST, _FRAME + _ROW * len(groups)),
    )
    means = [sum(row) / len(row) for row in shares]
    least, most = (groups[means.index(value)] for value in (min(means), max(means)))
    alt = (
        f"Heat map of {len(groups)} groups and {len(trials)} trials on the front. On average {least} keeps "
        f"the least ({share_text(min(means))} of its units) and {most} the most ({share_text(max(means))})."
    )
    return Picture(
        "widths",
        "Widths on the front",
        alt,
        "Share of each group that is kept, from the first layer down.",
        drawn,
    )


def _kept(trial: FrozenTrial, group: str, full: dict[str, int]) -> int:
    return (attributes_of(trial).widths or {}).get(group, full[group])
