"""Time spent in each stage, per trial."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
import plotly.graph_objects as go

from autoprune.review.figures.picture import COLOURS, GREY, Picture, axis, figure
from autoprune.review.stages import stage_seconds, stage_word
from autoprune.review.text import share_text
from autoprune.study.attributes import attributes_of, trials_of
from autoprune.utils.printable import html_text

_COLOURS = (*COLOURS, GREY)
_PATTERNS = ("", "/", ".")
"""When all colours are used, they repeat with a pattern."""
_MOST_BARS = 100


def stages_picture(study: optuna.Study) -> Picture | None:
    """Seconds of each stage as stacked bars, one per trial or per few trials; None without times."""
    timed = [
        (trial.number, own.seconds)
        for trial in trials_of(study)
        if (own := attributes_of(trial)).seconds and own.duplicate_of is None
    ]
    if not timed:
        return None
    known = {stage for _, seconds in timed for stage in seconds}
    stages = [stage for stage in stage_seconds(study) if stage in known]
    together = math.ceil(len(timed) / _MOST_BARS)
    runs = [timed[start : start + together] for start in range(0, len(timed), together)]
    drawn = figure(
        [
            go.Bar(
                x=[_label([number for number, _ in run]) for run in runs],
                y=[round(sum(seconds.get(stage, 0.0) for _, seconds in run) / len(run), 4) for run in runs],
                name=html_text(stage_word(stage)),
                marker={
                    "color": _COLOURS[place % len(_COLOURS)],
                    "pattern": {"shape": _PATTERNS[place // len(_COLOURS) % len(_PATTERNS)]},
                },
                hovertemplate="%{fullData.name}: %{y:.3~s}s, trial %{x}<extra></extra>",
            )
            for place, stage in enumerate(stages)
        ],
        axis(
            "trial" if together == 1 else f"trials, means of {together}", type="category", ticks="", nticks=12
        ),
        axis("seconds"),
        height=360,
        barmode="stack",
    )
    sums = {stage: sum(seconds.get(stage, 0.0) for _, seconds in timed) for stage in stages}
    largest, total = max(sums, key=lambda stage: sums[stage]), sum(sums.values())
    alt = f"Stacked bars of {len(timed)} trials."
    if total > 0:
        alt += f" Most of the time, {share_text(sums[largest] / total)}, went into {stage_word(largest)}."
    return Picture("stages", "Time by stage", alt, "Time that each trial spent in each stage.", drawn)


def _label(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
