"""Magnitude: units with small weights go first.

The norm of a filter as its importance is due to Li et al., "Pruning Filters for Efficient ConvNets"
(2017). A unit here is more than a filter: all layers that produce or consume it are cut with it, so
the norm runs over all of them, as in DepGraph (Fang et al., 2023). Each weight is scaled beforehand so
that its average unit has norm 1; otherwise the layer with the largest weights would decide alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.options import check_choice
from autoprune.criteria.registry import register
from autoprune.criteria.slices import precise, unit_maxima, unit_sums
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group, Role, Slice

Scaling = Literal["mean", "size", "none"]
Reduction = Literal["mean", "sum", "max", "prod"]
Normalisation = Literal["none", "sum", "mean", "max", "l2", "standard", "gaussian", "lamp"]
Over = Literal["all", "out", "in", "parameters"]
ROLES: dict[Over, tuple[Role, ...]] = {
    "all": ("out", "in"),
    "out": ("out",),
    "in": ("in",),
    "parameters": ("out", "pass", "in"),
}
"""Which slices of a group each choice takes."""


@dataclass(frozen=True)
class GroupNorm:
    """Lp norm of a unit over the weights that produce and consume it: ``group-norm``.

    With ``n(W, u)`` the sum of ``|w| ** p`` over the entries of weight ``W`` that belong to unit ``u`` (for
    ``p=inf`` the largest ``|w|``), scaled as ``scale`` says, the score is the reduction of ``n(W, u)`` over
    the group's weights ``W``, to the power ``1 / p``, normalised within the group. ``W`` has two or more
    axes, unless ``over=parameters`` counts biases and normalisations, too.

    Attributes:
        p: the exponent of the norm, above 0; ``inf`` for the largest entry.
        reduce: over the weights: ``mean``, ``sum``, ``max`` or ``prod`` (the geometric mean, which stays
            comparable whatever the number of weights; 0 where any weight of the unit is).
        scale: what ``n`` is divided by, weight by weight: its ``mean`` over the units, its entries a unit
            (``size``), or ``none``.
        normalize: of a group's scores ``s``: ``none``; divide by their ``sum``, ``mean``, ``max`` or ``l2``
            norm; ``standard``: ``(s - mean) / deviation``; ``gaussian``: the normal distribution function of
            that, which lies in (0, 1); ``lamp``: ``s ** 2`` over the sum of the squares that are as large or
            larger, by which the last unit of every group scores 1 (Lee et al., "Layer-adaptive sparsity for
            the magnitude-based pruning", 2021). Units of different groups compare as they then are.
        over: ``all`` weights, those that produce (``out``, as in Li et al.), or consume (``in``) the units;
            ``parameters``: all weights, biases and normalisations that go with a unit.
    """

    relative: ClassVar[bool] = False

    p: float = 2.0
    reduce: Reduction = "mean"
    scale: Scaling = "mean"
    normalize: Normalisation = "mean"
    over: Over = "all"

    def __post_init__(self) -> None:
        if not self.p > 0:
            raise CriterionError(f"p={self.p:g} is no exponent of a norm: give a number above 0, or inf")
        check_choice("reduce", self.reduce, get_args(Reduction))
        check_choice("scale", self.scale, get_args(Scaling))
        check_choice("normalize", self.normalize, get_args(Normalisation))
        check_choice("over", self.over, get_args(Over))

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError for a group that has no weight to take a norm of."""
        tensors = context.model.state_dict()
        least = 1 if self.over == "parameters" else 2
        weights = {n: tensors[n] for n in context.structure.parameters if tensors[n].ndim >= least}
        return {group.name: self._score(group, weights) for group in context.structure.groups}

    def _score(self, group: Group, weights: dict[str, Tensor]) -> Tensor:
        roles = ROLES[self.over]
        parts = [part for part in group.slices if part.role in roles and part.parameter in weights]
        if not parts:
            raise CriterionError(
                f"group {group.name!r} has no weight to take a norm of: use criterion taylor"
            )
        each = torch.stack([self._scaled(weights[part.parameter], part) for part in parts])
        powers = REDUCTIONS[self.reduce](each)
        return NORMALISATIONS[self.normalize](powers if math.isinf(self.p) else powers.pow(1 / self.p))

    def _scaled(self, weight: Tensor, part: Slice) -> Tensor:
        sizes = precise(weight).abs()
        powers = unit_maxima(sizes, part) if math.isinf(self.p) else unit_sums(sizes.pow(self.p), part)
        if self.scale == "size" and not math.isinf(self.p):
            return powers / (math.prod(weight.shape) // weight.shape[part.axis] * len(part.index[0]))
        # A weight that is zero for every unit says nothing about any of them.
        return powers / powers.mean() if self.scale == "mean" and bool(powers.any()) else powers


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda each: each.mean(dim=0),
    "sum": lambda each: each.sum(dim=0),
    "max": lambda each: each.amax(dim=0),
    "prod": lambda each: each.log().mean(dim=0).exp(),
}
"""From ``[weights, width]`` to ``[width]``."""


def _standard(scores: Tensor) -> Tensor:
    deviation = scores.std(correction=0)
    return (scores - scores.mean()) / deviation if deviation > 0 else torch.zeros_like(scores)


def _over(scores: Tensor, total: Tensor) -> Tensor:
    return scores / total if total > 0 else scores


def _lamp(scores: Tensor) -> Tensor:
    squares, order = scores.square().sort()
    as_large = squares.flip(0).cumsum(0).flip(0)
    # Of equal units, all count for each of them.
    first = torch.searchsorted(squares, squares)
    return torch.empty_like(squares).scatter_(0, order, squares / as_large[first].clamp_min(1e-300))


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda scores: scores,
    "sum": lambda scores: _over(scores, scores.sum()),
    "mean": lambda scores: _over(scores, scores.mean()),
    "max": lambda scores: _over(scores, scores.amax()),
    "l2": lambda scores: _over(scores, torch.linalg.vector_norm(scores)),
    "standard": _standard,
    "gaussian": lambda scores: torch.special.ndtr(_standard(scores)),
    "lamp": _lamp,
}
"""Of the scores ``[width]`` of one group."""


register("group-norm")(GroupNorm)


class _Norm:
    """A group norm with its defaults; the mean of ``score ** p`` over a group is 1."""

    p: ClassVar[float]

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError for a group that has no weight matrix."""
        return GroupNorm(self.p, normalize="none").scores(context)


@register("l1")
class L1(_Norm):
    """Norm with p = 1."""

    p = 1


@register("l2")
class L2(_Norm):
    """Norm with p = 2."""

    p = 2


@register("linf")
class LInfinity(_Norm):
    """Norm with p = infinity: the largest weight of a unit."""

    p = math.inf
