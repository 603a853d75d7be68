"""Limiting what may be cut: by module patterns, and at the ends of the network."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from autoprune.errors import UserError
from autoprune.structure.groups import Group, Structure
from autoprune.structure.propagation.propagate import AT_OUTPUT
from autoprune.utils.arguments import check_type, listed_texts


def restrict(
    structure: Structure,
    *,
    skip: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    keep_ends: bool = False,
) -> Structure:
    """The structure with fewer groups; those left out are frozen with the reason.

    Args:
        structure: what could be cut.
        skip: globs of module paths; a group stays whole when one of the layers whose own units it
            holds matches (what merely reads them does not count).
        only: globs; a group may be cut only when all those layers match.
        keep_ends: leave the units that a layer at the model's input gives out, and those that a
            layer at its output reads.

    Returns:
        A new structure; the given one stays as it is.

    Raises:
        ArgumentError: for an argument of another type.
        UserError: for a pattern that matches nothing.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(
        ...     nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)
        ... )
        >>> structure = autoprune.discover(network, torch.randn(1, 20))
        >>> autoprune.restrict(structure, skip="0").widths
        {'2': 6}
    """
    check_type("structure", structure, Structure, "what autoprune.discover returned")
    skip, only = (
        listed_texts(name, globs, "a list of globs") for name, globs in (("skip", skip), ("only", only))
    )
    check_type("keep_ends", keep_ends, bool, "True or False")
    layers = {group.name: owners(group) for group in structure.groups}
    known = sorted({layer for names in layers.values() for layer in names} | set(structure.frozen))
    for pattern in (*skip, *only):
        require_match(pattern, known)
    reasons: dict[str, str] = {}
    for group in structure.groups:
        names = layers[group.name]
        skipped = next((p for p in skip if any(matches(name, p) for name in names)), None)
        if skipped is not None:
            reasons[group.name] = f"kept by skip={skipped}"
        elif only and not all(any(matches(name, p) for p in only) for name in names):
            reasons[group.name] = f"kept: not in only={','.join(only)}"
        elif keep_ends and _at_an_end(group, structure):
            reasons[group.name] = "kept: at the model's input or output"
    return structure.without(reasons)


def owners(group: Group) -> list[str]:
    """Paths of the layers that produce or carry along a group's units, in order; a block's own path."""
    if group.block is not None:
        return [group.block.module]
    layers = (part.layer for part in group.slices if part.role != "in")
    return list(dict.fromkeys(layers))


def matches(layer: str, pattern: str) -> bool:
    """Whether the glob covers the layer or a module that holds it."""
    return fnmatchcase(layer, pattern) or layer.startswith(f"{pattern}.")


def require_match(pattern: str, known: Sequence[str]) -> None:
    """Raise UserError, with what there is, unless the glob covers one of the known layers."""
    if any(matches(layer, pattern) for layer in known):
        return
    close = get_close_matches(pattern, known, n=3, cutoff=0.4) or known[:3]
    raise UserError(f"no layer matches {pattern!r}: there are {', '.join(close)} and others")


def _at_an_end(group: Group, structure: Structure) -> bool:
    last = {layer for layer, reason in structure.frozen.items() if reason == AT_OUTPUT}
    return any(
        (part.role == "out" and part.layer in structure.first) or (part.role == "in" and part.layer in last)
        for part in group.slices
    )
