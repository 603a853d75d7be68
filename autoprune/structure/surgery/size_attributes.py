"""Numbers that code keeps about its own sizes, and that must follow a cut: ``num_heads``, ``embed_dim``, ...

What such an attribute stands for can only be guessed from its name, its value and the tensors nearby. Each
attribute has several readings, the likeliest first; the proof by execution decides which one is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from autoprune.structure.groups import ATTENTION_KINDS, Extent, Group, Structure, layer_of

Number = tuple[str | int, ...]
"""Module path and attribute, and the keys within it where that is a container or an object."""
Reading = Extent | None
"""What an attribute stands for; None when it does not follow any cut."""

_HEAD_WIDTH = re.compile(
    r"head_?(dim|size|width|channels)|(dim|size|width|channels|d|per)_?(attention_)?head|^d_[kv]+$"
)
_HEADS = re.compile(r"heads?$")
_SIZE = re.compile(r"dim|size|width|channels|features|emb|hidden|inner|planes|model|units|state")
_INNER = re.compile(r"all_head|inner|attn|attention|proj|qkv|kv|qk")
_OTHER = re.compile(
    r"window|image|img|patch|kernel|seq|vocab|class|len|max|batch|group|layer|depth|stride|num_emb"
)
_OF_TORCH = "torch.nn.modules"
_MOST_READINGS = 4


def readings(model: nn.Module, structure: Structure) -> dict[Number, tuple[Reading, ...]]:
    """Every attribute that may follow a cut, with what it may stand for, the likeliest first."""
    near = nearby(structure)
    found: dict[Number, tuple[Reading, ...]] = {}
    for path, module in model.named_modules():
        if _sizes_follow_already(module):
            continue
        for name, value in vars(module).items():
            if type(value) is int and value > 1 and not name.startswith("_"):
                possible = tuple(_readings(name, value, near.get(path, ()), structure))
                if any(possible):
                    found[path, name] = possible
    return found


def likeliest(readings: Mapping[Number, Sequence[Reading]]) -> dict[Number, Extent]:
    """The first reading of every attribute, without those that follow nothing."""
    return {number: possible[0] for number, possible in readings.items() if possible[0] is not None}


def reread(
    readings: Mapping[Number, Sequence[Reading]],
    numbers: Mapping[Number, Extent],
    groups: Sequence[str],
    *,
    following: bool,
) -> dict[Number, Extent]:
    """Other readings for all attributes that may have to do with the named groups.

    Args:
        readings: of every attribute.
        numbers: the present ones.
        groups: names of the groups.
        following: take readings that follow one of these groups, or such as follow none.
    """
    changed = dict(numbers)
    for number, possible in readings.items():
        if not any(follows(reading, groups) for reading in possible):
            continue
        reading = next((r for r in (*possible, None) if follows(r, groups) == following), None)
        if reading is not None:
            changed[number] = reading
        else:
            changed.pop(number, None)
    return changed


def set_numbers(model: nn.Module, structure: Structure, widths: Mapping[str, int]) -> None:
    """Give every attribute that follows a cut its value at these widths."""
    for (path, name, *keys), extent in structure.numbers.items():
        module = _module(model, str(path))
        if module is not None and name in vars(module):
            held = vars(module)[str(name)]
            setattr(module, str(name), _replaced(held, keys, extent.at(widths)))


def _replaced(value: Any, keys: Sequence[str | int], number: int) -> Any:
    """The value with another number in it; a tuple is rebuilt, anything else is changed in place."""
    if not keys:
        return number
    key, *inner = keys
    if isinstance(value, tuple):
        parts = list(value)
        parts[int(key)] = _replaced(parts[int(key)], inner, number)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    held: Any = value if isinstance(value, list | dict) else vars(value)
    held[key] = _replaced(held[key], inner, number)
    return value


def _module(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        # A block around it was taken out.
        return None


def is_torch(module: nn.Module) -> bool:
    """Whether a layer is torch's own, and no subclass of it from elsewhere."""
    return type(module).__module__.startswith(_OF_TORCH)


def _sizes_follow_already(module: nn.Module) -> bool:
    return is_torch(module) and not isinstance(module, nn.MultiheadAttention | nn.Transformer)


Axis = tuple[int, int, Extent]
"""Number of modules between, length, and symbolic length of an axis."""


def nearby(structure: Structure) -> dict[str, list[Axis]]:
    """Module path -> the axes below it that some group cuts, the nearest first."""
    near: dict[str, list[Axis]] = {}
    for name, shape in structure.tensors.items():
        for extent in shape:
            if extent.per_group:
                length = extent.at(structure.widths)
                for distance, path in enumerate(upwards(layer_of(name) if "." in name else "")):
                    near.setdefault(path, []).append((distance, length, extent))
    return {path: sorted(axes, key=lambda axis: axis[0]) for path, axes in near.items()}


def upwards(path: str) -> Iterator[str]:
    """The module itself and those around it, the model last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _readings(name: str, value: int, axes: Sequence[Axis], structure: Structure) -> Iterator[Reading]:
    lower = name.lower()
    if _HEAD_WIDTH.search(lower) and "all_head" not in lower:
        yield from _counting(value, axes, structure, "head width")
    elif _HEADS.search(lower):
        yield from _counting(value, axes, structure, "heads")
    elif _SIZE.search(lower) and not _OTHER.search(lower):
        yield from _measuring(value, axes, structure, inner=bool(_INNER.search(lower)))


def _counting(value: int, axes: Sequence[Axis], structure: Structure, kind: str) -> Iterator[Reading]:
    """A multiple of the number of units of the nearest group of that kind."""
    by_name = {group.name: group for group in structure.groups if group.kind == kind}
    nearest: dict[str, tuple[int, Group]] = {}
    for distance, _, extent in axes:
        for name, _ in extent.per_group:
            if name in by_name and value % by_name[name].width == 0:
                nearest.setdefault(name, (distance, by_name[name]))
    closest = min((distance for distance, _ in nearest.values()), default=0)
    options = [group for distance, group in nearest.values() if distance == closest]
    extents: list[Reading] = [Extent(0, ((group.name, value // group.width),)) for group in options]
    yield from _unless_ambiguous(extents)


def _measuring(value: int, axes: Sequence[Axis], structure: Structure, *, inner: bool) -> Iterator[Reading]:
    """The length of the nearest axis of that length, of those that attention makes or of the others."""
    attending = {group.name for group in structure.groups if group.kind in ATTENTION_KINDS}
    fitting = [(distance, extent) for distance, length, extent in axes if length == value]
    made = [pair for pair in fitting if any(name in attending for name, _ in pair[1].per_group)]
    others = [pair for pair in fitting if pair not in made]
    preferred, rest = (made, others) if inner else (others, made)
    first = closest(preferred)
    second = [extent for extent in closest(rest) if extent not in first]
    if len(first) == 1:
        yield from [*first, *second[:_MOST_READINGS], None]
    else:
        yield from [None, *first[:_MOST_READINGS], *second[:_MOST_READINGS]]


def closest(pairs: Sequence[tuple[int, Extent]]) -> list[Extent]:
    """The different extents at the smallest distance."""
    return list(dict.fromkeys(extent for distance, extent in pairs if distance == pairs[0][0]))


def _unless_ambiguous(extents: Sequence[Reading]) -> Iterator[Reading]:
    if len(extents) == 1:
        yield from [*extents, None]
    elif extents:
        yield from [None, *extents[:_MOST_READINGS]]


def follows(reading: Reading, groups: Sequence[str]) -> bool:
    """Whether an attribute read so follows one of the groups."""
    return reading is not None and any(name in groups for name, _ in reading.per_group)
