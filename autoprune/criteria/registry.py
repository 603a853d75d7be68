"""Criteria by name, and a user's own by reference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from autoprune.criteria.base import Context, Criterion
from autoprune.errors import AutopruneError, CriterionError
from autoprune.structure.groups import Group
from autoprune.structure.sharing import described
from autoprune.tasks.reference import resolve, summary

F = TypeVar("F", bound=Callable[..., Any])

_registered: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class _FunctionCriterion:
    """A function ``score(context)`` as a criterion."""

    function: Callable[[Context], dict[str, Tensor]]

    def scores(self, context: Context) -> dict[str, Tensor]:
        return self.function(context)


def register(name: str) -> Callable[[F], F]:
    """Decorator that makes a function ``score(context)`` or a :class:`Criterion` class known by ``name``.

    Raises:
        CriterionError: when another one has that name.
    """

    def keep(target: F) -> F:
        if name in _registered:
            raise CriterionError(f"a criterion named {name!r} is registered already: choose another name")
        _registered[name] = target
        return target

    return keep


def names() -> tuple[str, ...]:
    """The registered names, in alphabetical order."""
    return tuple(sorted(_registered))


def criterion(spec: str) -> Criterion:
    """The criterion of a registered name, ``package.module:attr`` or ``path/file.py:attr``.

    What a reference leads to may be a function ``score(context)``, or a class or an object with a
    method ``scores(context)``; a class is called without arguments.

    Raises:
        CriterionError: an unknown name, or a reference that leads nowhere or to something else.
    """
    if spec in _registered:
        return _made(_registered[spec], spec)
    if ":" in spec:
        return _made(resolve(spec, "criterion", CriterionError), spec)
    near = get_close_matches(spec, names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    choices = f"There are {', '.join(names())}, or give path/file.py:function"
    raise CriterionError(f"unknown criterion {spec!r}: {hint}{choices}")


def _made(target: object, spec: str) -> Criterion:
    if inspect.isclass(target) and hasattr(target, "scores"):
        try:
            return cast(Criterion, target())
        except TypeError as error:
            raise CriterionError(f"criterion {spec}: the class must take no arguments: {error}") from None
    if callable(getattr(target, "scores", None)):
        return cast(Criterion, target)
    if callable(target) and not inspect.isclass(target):
        return _FunctionCriterion(target)
    raise CriterionError(
        f"criterion {spec} is neither a function score(context) nor a class with a method scores(context)"
    )


def score_units(criterion: Criterion, context: Context) -> Mapping[str, Tensor]:
    """Scores of every unit: group name -> finite float64 tensor ``[width]`` on the CPU, in the groups' order.

    Blocks have one unit each, so that there is nothing to rank: criteria do not see them, and they get no
    scores. See :func:`autoprune.criteria.block_importance`.

    Raises:
        CriterionError: when the criterion fails, or a group is missing or unknown, or its scores have the
            wrong shape or are not finite.
    """
    groups = tuple(group for group in context.structure.groups if group.block is None)
    context = replace(
        context,
        model=described(context.model, context.structure),
        structure=replace(context.structure, groups=groups),
    )
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
    return {group.name: _checked(group, scores.get(group.name)) for group in groups}


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
