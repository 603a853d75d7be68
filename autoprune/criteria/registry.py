"""Criteria by name, and a user's own by reference.

A criterion of one's own is a function in any file, given as ``--criterion path/file.py:score``::

    def score(context):  # context: model, structure, batches, loss, seed
        state = context.model.state_dict()
        scores = {}
        for group in context.structure.groups:
            part = next(part for part in group.slices if part.role == "out")  # what produces the units
            scores[group.name] = unit_sums(state[part.parameter].abs(), part)  # [group.width]
        return scores

``unit_sums`` is in :mod:`autoprune.criteria.slices`. Larger scores are kept longer. With
``@autoprune.register_criterion("mine")`` above it, the function goes by the name ``mine`` wherever its module
is imported. A class with a method ``scores(context)`` serves as well; if it is a dataclass, its fields are
options: ``mine:strength=0.5``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from autoprune.config.commands import command_line
from autoprune.config.references import Code, CriterionName, LearnedFile, Named, OwnObject, parse_criterion
from autoprune.config.user_code import Permit, load_object
from autoprune.criteria.base import Context, Criterion
from autoprune.criteria.cost_aware import CostAware, exponent_of
from autoprune.criteria.learned import read_criterion
from autoprune.criteria.learned_scores import LearnedScores
from autoprune.criteria.options import options_of, with_options
from autoprune.errors import ArgumentError, CriterionError
from autoprune.utils.arguments import check_type, described
from autoprune.utils.suggest import did_you_mean
from autoprune.utils.untrusted import short

MOST_SPEC = 1000
"""Characters of the longest text that names a criterion."""

F = TypeVar("F", bound=Callable[..., Any])

_CRITERION = "register a function score(context) or a class with a method scores(context)"

_registered: dict[str, Callable[..., Any]] = {}
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class _FunctionCriterion:
    """A function ``score(context)`` as a criterion."""

    function: Callable[[Context], dict[str, Tensor]]

    def scores(self, context: Context) -> dict[str, Tensor]:
        return self.function(context)


def register(name: str) -> Callable[[F], F]:
    """Decorator that makes a function ``score(context)`` or a :class:`Criterion` class known by ``name``.

    Args:
        name: of letters, digits, ``_`` and ``-``; that is how ``criterion=`` names it.

    Returns:
        What takes the function or class, and returns it. The function maps a
        :class:`autoprune.criteria.Context` to scores: the name of each group to a tensor ``[width]``; units
        of low score go first.

    Raises:
        ArgumentError: for a name that is no text, or something else than a criterion.
        CriterionError: when another one has that name, or it is none of letters, digits, ``_`` and ``-``.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> @autoprune.register_criterion("from-the-left")
        ... def score(context):
        ...     return {group.name: -torch.arange(float(group.width)) for group in context.structure.groups}
        >>> smaller = autoprune.prune(network, torch.randn(1, 20), 0.5, criterion="from-the-left")
        >>> torch.equal(smaller[0].weight, network[0].weight[:4])
        True
    """
    check_type("the name of a criterion", name, str, "a string: @autoprune.register_criterion('mine')")
    if not _NAME.fullmatch(name):
        raise CriterionError(f"criterion {short(name)} cannot be registered: use letters, digits, _ and -")

    def keep(target: F) -> F:
        if not callable(target) and not hasattr(target, "scores"):
            raise ArgumentError(f"criterion {name!r} is {described(target)}: {_CRITERION}")
        if name in _registered:
            raise CriterionError(f"a criterion named {name!r} is registered already: choose another name")
        _registered[name] = target
        return target

    return keep


def names() -> tuple[str, ...]:
    """The registered names, in alphabetical order."""
    return tuple(sorted(_registered))


def criterion(spec: str, trusted: Collection[str] = ()) -> Criterion:
    """The criterion of a registered name, ``package.module:attr``, ``path/file.py:attr`` or a JSON file.

    Options follow the name of a dataclass: ``group-norm:p=1,reduce=max``. A price follows any of these,
    with an exponent if it is not 1: ``taylor/flops``, ``path/file.py:score/params^0.5``.
    What a reference leads to may be a function ``score(context)``, or a class or an object with a
    method ``scores(context)``; a class is called without arguments.

    Args:
        spec: as above.
        trusted: references that a ``criterion.json`` may name. A file that comes from elsewhere is data: it
            does not decide which code is run.

    Raises:
        CriterionError: an unknown name or option, or a reference that leads nowhere or to something else.
    """
    reference = parse_criterion(spec)
    return named_criterion(reference, Permit.naming(reference, *map(parse_criterion, trusted)))


def named_criterion(reference: CriterionName, permit: Permit) -> Criterion:
    """The criterion that a setting names, as :func:`criterion`; TrustError for code that may not run."""
    spec, base = str(reference), reference.base
    if len(spec) > MOST_SPEC:
        raise CriterionError(f"criterion {short(spec)} is longer than {MOST_SPEC} characters")
    exponents = [exponent_of(price, reference) for price in reference.prices]
    found = _learned(base, permit) if isinstance(base, LearnedFile) else _single(base, permit)
    for price, exponent in zip(reference.prices, exponents, strict=True):
        found = CostAware(found, price.cost, exponent)
    return found


def _single(base: Named | Code | OwnObject, permit: Permit) -> Criterion:
    spec = str(base)
    if not isinstance(base, Named):
        return _made(load_object(base, permit, "criterion", CriterionError), spec)
    options = options_of(base)
    if base.name in _registered:
        target = _registered[base.name]
        return cast(Criterion, with_options(base.name, target, options)) if options else _made(target, spec)
    choices = f"there are {', '.join(names())}, or give path/file.py:function or a criterion.json"
    raise CriterionError(f"unknown criterion {spec!r}{did_you_mean(base.name, names(), ':')} {choices}")


def _learned(file: LearnedFile, permit: Permit) -> LearnedScores:
    """The criterion of a file; those that it is made of are registered here, or code that may run anyway."""
    learned = read_criterion(Path(file.file))
    bases = {name: parse_criterion(name) for name in learned.bases}
    for name, reference in bases.items():
        if isinstance(reference.base, LearnedFile):
            raise CriterionError(f"{file} is made of another learned criterion, {name!r}: apply that one")
        if not permit.covers(reference):
            flag = command_line("--mix", str(reference.base))
            raise CriterionError(f"{file} asks for code of its own: if you trust it, give {flag}")
    made = {name: named_criterion(reference, permit) for name, reference in bases.items()}
    return LearnedScores(learned, made, str(file))


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
