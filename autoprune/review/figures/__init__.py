"""Plotly figures of a study, one per module; each is drawn if the study has the data."""

from __future__ import annotations

import optuna

from autoprune.review.figures.front import COSTS, front_picture
from autoprune.review.figures.hypervolume import hypervolume_picture
from autoprune.review.figures.importances import importances_picture
from autoprune.review.figures.latency import latency_picture
from autoprune.review.figures.learned import criterion_picture, mixture_picture, sensitivity_picture
from autoprune.review.figures.picture import Picture, with_title
from autoprune.review.figures.stages import stages_picture
from autoprune.review.figures.widths import widths_picture
from autoprune.study.record import study_record


def pictures(study: optuna.Study) -> list[Picture]:
    """All figures that the study has data for, the front first.

    The front is drawn against what the study's trials lower, and against latency where it was measured.

    Raises:
        StudyError: the study was not made by autoprune.
    """
    fronts = [front_picture(study, name) for name in _costs(study)]
    others = (
        hypervolume_picture(study),
        widths_picture(study),
        sensitivity_picture(study),
        criterion_picture(study),
        mixture_picture(study),
        importances_picture(study),
        latency_picture(study),
        stages_picture(study),
    )
    return [picture for picture in (*fronts, *others) if picture is not None]


def learned_pictures(study: optuna.Study, number: int) -> list[Picture]:
    """The figures of what a trial and its study learned about the groups."""
    drawn = (
        sensitivity_picture(study),
        criterion_picture(study, number),
        mixture_picture(study, number),
        importances_picture(study),
    )
    return [picture for picture in drawn if picture is not None]


def _costs(study: optuna.Study) -> list[str]:
    """The costs to draw the front against: limited ones first, always FLOPs or non-zeros and latency."""
    record = study_record(study)
    limited = [name for name, cost in COSTS.items() if cost.limit in record.get("limits", {})]
    masked = "nonzero" in record.get("baseline", {})
    always = ["nonzero"] if masked else ["flops", "latency"]
    return list(dict.fromkeys([*limited, *always]))


__all__ = ["Picture", "front_picture", "learned_pictures", "pictures", "with_title"]
