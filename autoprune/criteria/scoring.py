"""Scoring: a criterion is run, and what it gives is checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.ranking import Ranking
from autoprune.errors import AutopruneError, CriterionError, CriterionWarning
from autoprune.structure.groups import Group
from autoprune.structure.surgery.untie import described
from autoprune.tasks.import_reference import summary


def rankings(criteria: Mapping[str, Criterion], context: Context) -> dict[str, Ranking]:
    """The ranking of every criterion; passes over the data that several of them read are made once.

    Raises CriterionError as :func:`telling_scores` does.
    """
    context = _prepared(context)
    found = {}
    for name, criterion in criteria.items():
        scores = telling_scores(name, criterion, context)
        found[name] = Ranking(name, scores, relative=getattr(criterion, "relative", True))
    return found


def telling_scores(name: str, criterion: Criterion, context: Context) -> dict[str, Tensor]:
    """Checked scores that rank something, in a context as criteria see it.

    Raises CriterionError as :func:`score_units` does, with the criterion's name, or where all units of every
    group are equal; warns where those of some groups are.
    """
    try:
        scores = _scored(criterion, context)
    except CriterionError as error:
        if str(error).startswith("criterion "):
            raise
        raise CriterionError(f"criterion {name}: {error}") from error
    require_differences(name, scores)
    return scores


def score_units(criterion: Criterion, context: Context) -> Mapping[str, Tensor]:
    """Scores of every unit: group name -> finite float64 tensor ``[width]`` on the CPU, in the groups' order.

    Blocks have one unit each, so that there is nothing to rank: criteria do not see them, and they get no
    scores. See :func:`autoprune.criteria.block_importance`.

    Raises:
        CriterionError: when the criterion fails, or a group is missing or unknown, or its scores have the
            wrong shape or are not finite.
    """
    return _scored(criterion, _prepared(context))


def _prepared(context: Context) -> Context:
    """With the model whose tensors the structure names, and without blocks."""
    groups = tuple(group for group in context.structure.groups if group.block is None)
    return replace(
        context,
        model=described(context.model, context.structure),
        structure=replace(context.structure, groups=groups),
    )


def _scored(criterion: Criterion, context: Context) -> dict[str, Tensor]:
    try:
        scores: object = criterion.scores(context)
    except AutopruneError:
        raise
    except Exception as failure:
        raise CriterionError(f"the criterion failed: {summary(failure)}") from failure
    if not isinstance(scores, Mapping):
        raise CriterionError(f"a criterion must give a dict of tensors, not {type(scores).__name__}")
    unknown = [name for name in scores if name not in context.structure.widths]
    if unknown:
        raise CriterionError(f"the criterion gave scores for {unknown[0]!r}, which is no group of this model")
    return {group.name: _checked(group, scores.get(group.name)) for group in context.structure.groups}


def _checked(group: Group, scores: object) -> Tensor:
    if scores is None:
        raise CriterionError(f"the criterion gave no scores for group {group.name!r}: score every group")
    if not isinstance(scores, Tensor) or scores.shape != (group.width,):
        found = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise CriterionError(f"scores of group {group.name!r} must be a tensor [{group.width}], not {found}")
    values = scores.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise CriterionError(
            f"scores of group {group.name!r} are not all finite: check the weights and the calibration data"
        )
    return values


def require_differences(name: str, scores: Mapping[str, Tensor]) -> None:
    """Scores that are all equal rank nothing: CriterionError if all groups are so, a warning if some are.

    In a group of equal units, those with lower numbers go first.
    """
    flat = {group: values.flatten() for group, values in scores.items()}
    equal = [group for group, values in flat.items() if len(values) > 1 and bool((values == values[0]).all())]
    if equal and len(equal) == len(scores):
        raise CriterionError(
            f"criterion {name} finds all units of every group equally important: "
            "use another criterion, such as l2"
        )
    if equal:
        others = f" and {len(equal) - 1} more groups" if len(equal) > 1 else ""
        warnings.warn(
            f"criterion {name} finds all units of {equal[0]}{others} equally important: "
            "there, units go in the order of their numbers",
            CriterionWarning,
            stacklevel=3,
        )
