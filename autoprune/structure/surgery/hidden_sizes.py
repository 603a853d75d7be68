"""Sizes that code keeps where no name points them out: ``self.c``, a tuple, a dictionary, a configuration.

Any integer that equals an axis which a group cuts may be that size, or be equal by chance. Each is only a
candidate: it stays as it is unless a cut fails without it and succeeds with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from autoprune.structure.groups import Extent, Structure
from autoprune.structure.surgery.size_attributes import (
    Axis,
    Number,
    Reading,
    closest,
    is_torch,
    nearby,
    upwards,
)

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_MOST_ITEMS, _DEEPEST = 256, 3
"""Larger containers hold data, and deeper ones are no settings."""
_MOST_READINGS = 4
_SIZED = {
    nn.LayerNorm: ("normalized_shape",),
    nn.RMSNorm: ("normalized_shape",),
    nn.GroupNorm: ("num_channels",),
    nn.Unflatten: ("unflattened_size",),
    nn.modules.batchnorm._NormBase: ("num_features",),
}
"""Layers of torch that state a size without holding a tensor of it."""


def sizes_without_tensors(model: nn.Module, structure: Structure) -> dict[Number, tuple[Reading, ...]]:
    """What the sizes of torch's layers without parameters may stand for, the likeliest first.

    Layers with parameters take their sizes from these.
    """
    near = nearby(structure)
    readings: dict[Number, tuple[Reading, ...]] = {}
    for path, module in model.named_modules():
        names: tuple[str, ...] = next(
            (sizes for kind, sizes in _SIZED.items() if isinstance(module, kind)), ()
        )
        if not names or any(True for _ in module.parameters()) or not is_torch(module):
            continue
        if isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels:
            names = (*names, "num_groups")
        for name in names:
            for keys, value in _integers(vars(module)[name], (name,)):
                extents = _fitting(value, _axes_around(path, near), structure)
                if extents:
                    last: tuple[Reading, ...] = (None,)
                    readings[path, *keys] = (*extents, None) if len(extents) == 1 else last + extents
    return readings


def sizes_of_own_tensors(model: nn.Module, structure: Structure) -> dict[Number, tuple[Reading, ...]]:
    """Attributes that equal the same axis of a module's own tensors in every module of its class.

    ``nf`` of a layer whose weight is ``[nx, nf]`` is its second axis, also where both have the same length.
    """
    instances: dict[tuple[type, str], list[tuple[str, dict[tuple[str, int], int]]]] = defaultdict(list)
    for path, module in model.named_modules():
        if is_torch(module):
            continue
        lengths = {
            (name, axis): size
            for name, tensor in _own_tensors(module)
            for axis, size in enumerate(tensor.shape)
        }
        for name, value in vars(module).items():
            if lengths and type(value) is int and value > 1 and name not in _OF_EVERY_MODULE:
                equal = {axis: size for axis, size in lengths.items() if size == value}
                instances[type(module), name].append((path, equal))
    meant = {of: set.intersection(*(set(equal) for _, equal in each)) for of, each in instances.items()}
    claims = Counter((kind, axis) for (kind, _), axes in meant.items() for axis in axes)
    found: dict[Number, tuple[Reading, ...]] = {}
    for (kind, name), each in instances.items():
        # An axis that two attributes equal does not identify either.
        common = {axis for axis in meant[kind, name] if claims[kind, axis] == 1}
        for path, _ in each:
            names = [(_joined(path, own), axis) for own, axis in common]
            extents = {structure.tensors[name][axis] for name, axis in names if name in structure.tensors}
            if len(extents) == 1 and (extent := extents.pop()).per_group:
                found[path, name] = (extent, None)
    return found


def _own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def candidates(
    model: nn.Module, structure: Structure, known: Mapping[Number, object]
) -> dict[Number, tuple[Reading, ...]]:
    """Every other integer that may be the size of something cut; unless it must, it follows nothing.

    Args:
        model: the original model.
        structure: its groups.
        known: attributes whose readings are known otherwise.
    """
    near = nearby(structure)
    found: dict[Number, tuple[Reading, ...]] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        if is_torch(module):
            continue
        axes = _axes_around(path, near)
        for name, held in vars(module).items():
            if name in _OF_EVERY_MODULE:
                continue
            for keys, value in _integers(held, (name,), seen):
                extents = _fitting(value, axes, structure)
                if extents and (path, *keys) not in known:
                    found[path, *keys] = (None, *extents)
    return found


def _axes_around(path: str, near: Mapping[str, Sequence[Axis]]) -> Sequence[Axis]:
    """The axes below a module, or below the nearest module around it that has some."""
    return next((near[above] for above in upwards(path) if above in near), ())


def _integers(
    value: Any, keys: tuple[str | int, ...], seen: set[int] | None = None
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Where integers above one are held, and which; each object is entered once."""
    if type(value) is int:
        if value > 1:
            yield keys, value
        return
    items = _items(value)
    if len(keys) > _DEEPEST or len(items) > _MOST_ITEMS:
        return
    if seen is not None and items and not isinstance(value, tuple):
        if id(value) in seen:
            return
        seen.add(id(value))
    for key, item in items:
        yield from _integers(item, (*keys, key), seen)


def _items(value: Any) -> Sequence[tuple[str | int, Any]]:
    """What a container or an object with settings holds, by position, key or name."""
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, dict):
        return [(key, item) for key, item in value.items() if type(key) in (str, int)]
    if isinstance(value, Tensor | nn.Module | ModuleType | type) or callable(value):
        return ()
    return list(vars(value).items()) if hasattr(value, "__dict__") else ()


def _fitting(value: int, axes: Sequence[Axis], structure: Structure) -> tuple[Extent, ...]:
    """The nearest axes of that length, then multiples of the widths of groups nearby."""
    equal = closest([(distance, extent) for distance, length, extent in axes if length == value])
    widths = structure.widths
    near = {name: k for _, _, extent in reversed(axes) for name, k in extent.per_group}
    multiples = [
        Extent(0, ((name, value // widths[name]),))
        for name, most in near.items()
        if value % widths[name] == 0 and value // widths[name] <= most
    ]
    return tuple(dict.fromkeys([*equal, *multiples]))[:_MOST_READINGS]
