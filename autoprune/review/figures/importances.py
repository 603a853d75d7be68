"""Which groups decide the quality of a trial."""

from __future__ import annotations

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.review.estimates import STOPPED
from autoprune.review.figures.picture import BLUE, Picture, axis, figure
from autoprune.review.text import share_text

_LEAST_TRIALS = 8
"""Fewer say nothing about which group matters."""
_SHOWN = 20
_ROW, _FRAME = 20, 110


def importances_picture(study: optuna.Study) -> Picture | None:
    """Importance of each group's width to the quality by fANOVA; None for too few different trials.

    The widths are compared, not the parameters of the search space, so that spaces can be told apart by it.
    Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", 2014.
    """
    shares = group_importances(study)
    if not shares:
        return None
    shown = dict(list(shares.items())[:_SHOWN])
    metric = study.user_attrs["autoprune"]["metric"]
    drawn = figure(
        [
            go.Bar(
                x=list(shown.values()),
                y=list(shown),
                orientation="h",
                marker={"color": BLUE},
                hovertemplate="%{y}: %{x}<extra></extra>",
            )
        ],
        axis(f"share of the variance of {metric}", tickformat=".0%", hoverformat=".1%", rangemode="tozero"),
        axis("group", type="category", ticks="", autorange="reversed", tickfont={"size": 11}),
        height=_FRAME + _ROW * max(4, len(shown)),
        showlegend=False,
    )
    first = next(iter(shown))
    more = f" The {len(shown)} largest of {len(shares)}." if len(shown) < len(shares) else ""
    return Picture(
        "importances",
        "Importance of the groups",
        f"Bar chart. {first} explains most of the variance of {metric}, {share_text(shown[first])} of it.",
        f"fANOVA over the widths of all trials.{more} A sampler looks where trials are good, which distorts "
        "such numbers: read them as a hint.",
        drawn,
    )


def group_importances(study: optuna.Study) -> dict[str, float]:
    """Group -> its share, the largest first; empty when there are too few trials with different widths."""
    full: dict[str, int] = study.user_attrs["autoprune"]["groups"]
    distributions: dict[str, BaseDistribution] = {
        name: IntDistribution(0, width) for name, width in full.items()
    }
    copies = [
        create_trial(params=_widths(trial, full), distributions=distributions, value=trial.values[0])
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.user_attrs.get("widths") and not {"duplicate_of", STOPPED} & set(trial.user_attrs)
    ]
    if len(copies) < _LEAST_TRIALS or len({trial.value for trial in copies}) < 2:
        return {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        scratch = optuna.create_study()
        scratch.add_trials(copies)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return dict(optuna.importance.get_param_importances(scratch, evaluator=evaluator))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _widths(trial: FrozenTrial, full: dict[str, int]) -> dict[str, int]:
    return {name: trial.user_attrs["widths"].get(name, width) for name, width in full.items()}
