"""From labels to groups: classes of joined labels are units; units with one footprint form a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoprune.structure.groups import ROLES, Extent, Group, Operation, Role, Shape, Slice, Structure
from autoprune.structure.labels import varying
from autoprune.structure.propagate import Propagation, TensorRecord

Tie = tuple[str, int, Role]
Roots = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Units:
    """The removable units of one group, in order."""

    name: str
    roots: Roots
    footprint: tuple[tuple[int, int], ...]


def assemble(propagation: Propagation) -> Structure:
    """Groups, frozen layers and symbolic shapes from a finished propagation."""
    ties = {tie: propagation.space.find(labels).numpy() for tie, labels in propagation.ties.items()}
    reasons = propagation.space.frozen()
    inexact = propagation.space.inexact()
    frozen: dict[str, str] = {}
    families = _families(ties, reasons, frozen)
    groups = tuple(_group(family, ties, inexact) for family in families)
    group_of = {int(root): family.name for family in families for root in family.roots}
    widths = {group.name: group.width for group in groups}
    tensors = {
        name: tuple(_tensor_axis(ties, name, axis, size, group_of, widths) for axis, size in enumerate(shape))
        for name, shape in propagation.trace.shapes.items()
    }
    operations = tuple(
        Operation(
            record.kind,
            tuple(_shape(part, propagation, tensors, group_of, widths) for part in record.inputs),
            _shape(record.output, propagation, tensors, group_of, widths),
        )
        for record in propagation.operations
    )
    return Structure(groups, frozen, operations, tensors, propagation.trace.parameters)


def layer_of(parameter: str) -> str:
    """Module path of a state-dict name."""
    return parameter.rpartition(".")[0] or parameter


def _families(ties: Mapping[Tie, Roots], reasons: Mapping[int, str], frozen: dict[str, str]) -> list[_Units]:
    """Units with equal footprints together; what cannot go is written to `frozen`."""
    order = list(ties)
    footprints = _footprints(list(ties.values()))
    produced = {i for i, (_, _, role) in enumerate(order) if role == "out"}
    consumed = {i for i, (_, _, role) in enumerate(order) if role == "in"}
    members: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for root, footprint in footprints.items():
        touched = {tie for tie, _ in footprint}
        if not touched & produced:
            continue
        reason = reasons.get(root)
        if reason is None and not touched & consumed:
            reason = "nothing that can be cut reads its output"
        if reason is None:
            members[footprint].append(root)
        else:
            for tie in touched & produced:
                frozen.setdefault(layer_of(order[tie][0]), reason)
    families: list[_Units] = []
    for footprint in sorted(members):
        producers = [layer_of(order[tie][0]) for tie, _ in footprint if tie in produced]
        if len(members[footprint]) == 1:
            for layer in producers:
                frozen.setdefault(layer, "all its units are tied together")
            continue
        taken = sum(family.name.split("#")[0] == producers[0] for family in families)
        name = f"{producers[0]}#{taken + 1}" if taken else producers[0]
        families.append(_Units(name, np.array(members[footprint]), footprint))
    return families


def _footprints(vectors: list[Roots]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Representative -> how often it occurs in each tie, as ``((tie, count), ...)``."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for tie, vector in enumerate(vectors):
        for root, count in zip(*np.unique(vector, return_counts=True), strict=True):
            found[int(root)].append((tie, int(count)))
    return {root: tuple(footprint) for root, footprint in found.items()}


def _group(family: _Units, ties: Mapping[Tie, Roots], inexact: set[int]) -> Group:
    order = list(ties)
    first, count = next((tie, count) for tie, count in family.footprint if order[tie][2] == "out")
    positions = _positions(ties[order[first]], family.roots, count)
    roots = family.roots[np.argsort(positions[:, 0], kind="stable")]
    slices = tuple(
        Slice(*order[tie], _positions(ties[order[tie]], roots, count)) for tie, count in family.footprint
    )
    return Group(family.name, "channels", len(roots), slices, exact=not inexact & set(roots.tolist()))


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
    group_of: Mapping[int, str],
    widths: Mapping[str, int],
) -> Extent:
    for role in ROLES:
        vector = ties.get((name, axis, role))
        if vector is not None:
            return _extent(vector, group_of, widths)
    return Extent(size)


def _extent(vector: Roots, group_of: Mapping[int, str], widths: Mapping[str, int]) -> Extent:
    counts: dict[str, int] = defaultdict(int)
    for root, count in zip(*np.unique(vector, return_counts=True), strict=True):
        if int(root) in group_of:
            counts[group_of[int(root)]] += int(count)
    per_group = tuple((group, count // widths[group]) for group, count in counts.items())
    assert all(count % widths[group] == 0 for group, count in counts.items()), "units of unequal extent"
    return Extent(len(vector) - sum(counts.values()), per_group)


def _shape(
    record: TensorRecord,
    propagation: Propagation,
    tensors: Mapping[str, Shape],
    group_of: Mapping[int, str],
    widths: Mapping[str, int],
) -> Shape:
    if record.parameter is not None:
        return tensors[record.parameter]
    shape = [Extent(size) for size in record.shape]
    if isinstance(record.labels, Tensor):
        labels = propagation.space.settle(record.labels)
        for axis in varying(labels):
            others = [0] * labels.dim()
            vector = labels[tuple(slice(None) if d == axis else others[d] for d in range(labels.dim()))]
            shape[axis] = _extent(torch.Tensor.numpy(vector), group_of, widths)
    return tuple(shape)
