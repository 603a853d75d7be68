"""A study in a few lines: what it searches, how far it is, and its best trial."""

from __future__ import annotations

import optuna

from autoprune.review.table import counts_text
from autoprune.review.text import limits_text, quality_text, share_text
from autoprune.study.attributes import attributes_of
from autoprune.study.front import Summary, estimate_of, summary
from autoprune.utils.overview import counted


def overview(study: optuna.Study) -> dict[str, str]:
    """Name of a row -> its text.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    found = summary(study)
    baseline = quality_text(found.metric, found.baseline.quality, found.baseline.quality_error)
    return {
        "model": found.model,
        "original": f"{found.metric} {baseline}",
        "budget": limits_text(found.limits) or "no limit",
        "trials": counts_text(found),
        "front": counted(found.front, "trial"),
        "best": _best_text(study, found),
    }


def _best_text(study: optuna.Study, found: Summary) -> str:
    if found.best is None:
        return "none within the budget"
    trial = study.get_trials(deepcopy=False)[found.best]
    estimate = estimate_of(study, trial)
    ratio = attributes_of(trial).known(("flops_ratio",)).get("flops_ratio")
    costs = "" if ratio is None else f", {share_text(float(ratio))} of the FLOPs"
    quality = quality_text(found.metric, estimate.quality, estimate.error)
    return f"trial {found.best}: {found.metric} {quality}{costs}"
