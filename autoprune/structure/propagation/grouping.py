"""From labels to groups: classes of joined labels are units; units with one footprint form a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.structure.graph.error_site import kind_and_line
from autoprune.structure.groups import (
    ATTENTION_KINDS,
    ROLES,
    Extent,
    Group,
    Operation,
    Role,
    Shape,
    Slice,
    Structure,
    layer_of,
)
from autoprune.structure.propagation.labels import varying
from autoprune.structure.propagation.propagate import AT_INPUT, Propagation, TensorRecord

Tie = tuple[str, int, Role]
Roots = NDArray[np.int64]
Footprint = tuple[tuple[int, int], ...]
"""How often a unit occurs in each tie: ``((tie, count), ...)``."""


@dataclass(frozen=True, eq=False)
class _Units:
    """The removable units of one group, in order."""

    name: str
    roots: Roots
    footprint: Footprint


@dataclass(frozen=True, eq=False)
class _Owners:
    """Which group each unit belongs to.

    Attributes:
        names: of the groups.
        widths: their units.
        of: representative -> position of its group in ``names``, counted from 1; 0 for none.
        uneven: groups met so far of which an axis holds some units more often than others.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    of: Roots
    uneven: set[str] = field(default_factory=set)


def assemble(propagation: Propagation, unread: str = "forward never reads it") -> Structure:
    """Groups, frozen layers and symbolic shapes from a finished propagation.

    Args:
        propagation: labels of the whole graph.
        unread: the reason to give for layers that no operator reads.
    """
    ties = {tie: propagation.space.find(labels).numpy() for tie, labels in propagation.ties.items()}
    reasons = propagation.space.frozen()
    inexact = propagation.space.inexact()
    contracted = propagation.space.contracted()
    reduced = propagation.reduced()
    kinds = propagation.space.kinds()
    frozen: dict[str, str] = {}
    families: list[_Units] = []
    groups: list[Group] = []
    for family in _families(ties, reasons, contracted | reduced, kinds, frozen):
        try:
            groups.append(_group(family, ties, inexact, contracted, kinds))
            families.append(family)
        except Exception as error:
            frozen.setdefault(family.name, f"its units could not be put together: {kind_and_line(error)}")
    owners = _owners(families, propagation.space.size)
    tensors = {
        name: tuple(_tensor_axis(ties, name, axis, size, owners) for axis, size in enumerate(shape))
        for name, shape in propagation.trace.shapes.items()
    }
    operations = tuple(
        Operation(
            record.kind,
            tuple(_shape(part, propagation, tensors, owners) for part in record.inputs),
            _shape(record.output, propagation, tensors, owners),
            equation=record.equation,
        )
        for record in propagation.operations
    )
    _name_untouched(propagation, groups, frozen, reasons, unread)
    first = _first_layers(ties, reasons)
    return Structure(
        tuple(groups),
        frozen,
        operations,
        tensors,
        propagation.trace.parameters,
        first,
        attention=propagation.attention,
    ).without(dict.fromkeys(sorted(owners.uneven), "a tensor holds some of its units more often than others"))


def _name_untouched(
    propagation: Propagation,
    groups: Sequence[Group],
    frozen: dict[str, str],
    reasons: Mapping[int, str],
    unread: str,
) -> None:
    """Give a reason for every layer that no group cuts, so that nothing is left out silently."""
    trace = propagation.trace
    touched = {part.layer for group in groups for part in group.slices}
    for name in trace.shapes:
        layer = layer_of(name)
        if name not in trace.parameters or layer in touched or layer in frozen:
            continue
        if name in propagation.unread:
            frozen[layer] = unread
        elif len(trace.shapes[name]) > 1:
            frozen[layer] = propagation.reasons_of(name, reasons) or "carries along units that must stay"


def _first_layers(ties: Mapping[Tie, Roots], reasons: Mapping[int, str]) -> frozenset[str]:
    """Layers that read the model's input."""
    return frozenset(
        layer_of(name)
        for (name, _, role), roots in ties.items()
        if role == "in" and any(reasons.get(int(root), "").startswith(AT_INPUT) for root in roots)
    )


def _families(
    ties: Mapping[Tie, Roots],
    reasons: Mapping[int, str],
    summed: set[int],
    kinds: Mapping[int, str],
    frozen: dict[str, str],
) -> list[_Units]:
    """Units with equal footprints together; what cannot go is written to `frozen`.

    Units that something sums over need no layer that reads them.
    """
    order = list(ties)
    produced = {i for i, (_, _, role) in enumerate(order) if role == "out"}
    consumed = {i for i, (_, _, role) in enumerate(order) if role == "in"}
    members: dict[Footprint, list[int]] = {}
    for footprint, roots in _footprints(list(ties.values())).items():
        touched = {tie for tie, _ in footprint}
        if not touched & produced:
            continue
        unread = None if touched & consumed else "nothing that can be cut reads its output"
        why = {root: reasons.get(root, None if root in summed else unread) for root in roots}
        free = [root for root, reason in why.items() if reason is None]
        if free:
            members[footprint] = free
        for reason in filter(None, why.values()):
            for tie in touched & produced:
                frozen.setdefault(layer_of(order[tie][0]), reason)
    families: list[_Units] = []
    for footprint in sorted(members):
        producers = [layer_of(order[tie][0]) for tie, _ in footprint if tie in produced]
        if len(members[footprint]) == 1:
            for layer in producers:
                frozen.setdefault(layer, "all its units are tied together")
            continue
        made = [(count, layer_of(order[tie][0])) for tie, count in footprint if tie in produced]
        # What projects to heads names them, not a small layer that gives each of them a bias.
        attending = kinds.get(members[footprint][0]) in ATTENTION_KINDS
        first = max(made, key=lambda pair: pair[0])[1] if attending else producers[0]
        taken = sum(family.name.split("#")[0] == first for family in families)
        name = f"{first}#{taken + 1}" if taken else first
        families.append(_Units(name, np.array(members[footprint]), footprint))
    return families


def _footprints(vectors: Sequence[Roots]) -> dict[Footprint, list[int]]:
    """How often a unit occurs in each tie -> the representatives of the units that do so."""
    if not vectors:
        return {}
    unique = [np.unique(vector, return_counts=True) for vector in vectors]
    roots = np.concatenate([found for found, _ in unique])
    entries = np.stack(
        [
            np.repeat(np.arange(len(unique)), [len(found) for found, _ in unique]),
            np.concatenate([counts for _, counts in unique]),
        ],
        axis=1,
    )
    order = np.argsort(roots, kind="stable")
    roots, entries = roots[order], np.ascontiguousarray(entries[order])
    starts = np.flatnonzero(np.diff(roots, prepend=-1)).tolist()
    # Units number in the tens of thousands and footprints in the hundreds: equal bytes are found fast.
    members: dict[bytes, list[int]] = defaultdict(list)
    for start, end in pairwise([*starts, len(roots)]):
        members[entries[start:end].tobytes()].append(int(roots[start]))
    shape = (-1, 2)
    return {
        tuple(
            (tie, count) for tie, count in np.frombuffer(key, dtype=entries.dtype).reshape(shape).tolist()
        ): own
        for key, own in members.items()
    }


def _group(
    family: _Units,
    ties: Mapping[Tie, Roots],
    inexact: set[int],
    contracted: set[int],
    kinds: Mapping[int, str],
) -> Group:
    order = list(ties)
    first, count = next((tie, count) for tie, count in family.footprint if order[tie][2] == "out")
    positions = _positions(ties[order[first]], family.roots, count)
    roots = family.roots[np.argsort(positions[:, 0], kind="stable")]
    slices = tuple(
        Slice(*order[tie], _positions(ties[order[tie]], roots, count)) for tie, count in family.footprint
    )
    kind = kinds.get(int(roots[0]), "channels")
    every = set(roots.tolist())
    return Group(
        family.name,
        kind,
        len(roots),
        slices,
        exact=not inexact & every,
        contracted=bool(contracted & every),
    )


def _positions(vector: Roots, roots: Roots, count: int) -> NDArray[np.int64]:
    """Positions ``[len(roots), count]`` at which each representative stands in `vector`."""
    by_root = np.argsort(vector, kind="stable")
    starts = np.searchsorted(vector[by_root], roots)
    positions: Roots = by_root[starts[:, None] + np.arange(count)].astype(np.int64)
    return positions


def _tensor_axis(
    ties: Mapping[Tie, Roots],
    name: str,
    axis: int,
    size: int,
    owners: _Owners,
) -> Extent:
    for role in ROLES:
        vector = ties.get((name, axis, role))
        if vector is not None:
            return _extent(vector, owners)
    return Extent(size)


def _owners(families: Sequence[_Units], labels: int) -> _Owners:
    of = np.zeros(labels, dtype=np.int64)
    for position, family in enumerate(families, start=1):
        of[family.roots] = position
    return _Owners(tuple(f.name for f in families), tuple(len(f.roots) for f in families), of)


def _extent(vector: Roots, owners: _Owners) -> Extent:
    fixed, *counts = np.bincount(owners.of[vector], minlength=1 + len(owners.names)).tolist()
    every = zip(owners.names, owners.widths, counts, strict=True)
    held: list[tuple[str, int]] = []
    for name, width, count in every:
        if count % width:
            # The group is frozen in the end, and its length is a constant.
            owners.uneven.add(name)
            fixed += count
        elif count:
            held.append((name, count // width))
    return Extent(fixed, tuple(held))


def _shape(
    record: TensorRecord,
    propagation: Propagation,
    tensors: Mapping[str, Shape],
    owners: _Owners,
) -> Shape:
    if record.parameter is not None:
        return tensors[record.parameter][::-1] if record.transposed else tensors[record.parameter]
    shape = [Extent(size) for size in record.shape]
    if isinstance(record.labels, Tensor):
        labels = propagation.space.settle(record.labels)
        for axis in varying(labels):
            others = [0] * labels.dim()
            vector = labels[tuple(slice(None) if d == axis else others[d] for d in range(labels.dim()))]
            shape[axis] = _extent(torch.Tensor.numpy(vector), owners)
    return tuple(shape)
