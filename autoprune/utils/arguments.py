"""Validation of Python arguments: unsupported types are an error."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import PurePath
from types import UnionType
from typing import cast

from autoprune.errors import ArgumentError

_NAMED = 3
_LONGEST = 40

Kinds = type | UnionType | tuple[type, ...]


def check_type(name: str, value: object, kinds: Kinds, accepted: str, *, is_made: bool = False) -> None:
    """Raise ArgumentError unless a value is of one of these types; True and False are not numbers.

    Args:
        name: name of the argument, as the caller writes it.
        value: the given value.
        kinds: types as for `isinstance`.
        accepted: what to give, such as ``"a torch.nn.Module"``.
        is_made: whether the caller may have passed a factory function instead of its result.
    """
    if isinstance(value, kinds) and not (isinstance(value, bool) and not _takes_bool(kinds)):
        return
    call = "; call it first" if inspect.isclass(value) or (is_made and inspect.isroutine(value)) else ""
    raise ArgumentError(f"{name} is {described(value)}: give {accepted}{call}")


def whole_number(name: str, value: object, accepted: str = "a whole number") -> int:
    """A whole number, including NumPy's. Raises ArgumentError for anything else."""
    check_type(name, value, Integral, accepted)
    return int(cast(int, value))


def as_text(name: str, value: object, accepted: str) -> str:
    """A string, or a path converted to one. Raises ArgumentError for anything else."""
    check_type(name, value, (str, PurePath), accepted)
    return str(value)


def listed_texts(name: str, value: object, accepted: str) -> tuple[str, ...]:
    """The strings of a list or a tuple, or a single string. Raises ArgumentError for anything else."""
    if isinstance(value, str):
        return (value,)
    check_type(name, value, (list, tuple), accepted)
    assert isinstance(value, Sequence)
    for part in value:
        check_type(f"a part of {name}", part, str, accepted)
    return tuple(value)


def check_share(name: str, value: object, accepted: str) -> None:
    """Raise ArgumentError unless a value is None, a number, or a mapping of names to numbers."""
    numbers = value.items() if isinstance(value, Mapping) else [] if value is None else [("", value)]
    for key, number in numbers:
        check_type(f"{name}[{key!r}]" if key != "" else name, number, Real, accepted)


def described(value: object) -> str:
    """Describe a value for a message: ``a DataLoader``, ``a tuple (DataLoader, int)``, ``the string 'x'``."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the string {value!r}" if len(value) <= _LONGEST else "a string"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return "a function"
    kind = type(value).__name__
    if isinstance(value, list | tuple) and value:
        parts = [type(part).__name__ for part in value[:_NAMED]]
        more = ", ..." if len(value) > _NAMED else ""
        kind += f" ({', '.join(parts)}{more})"
    elif isinstance(value, bool | int | float):
        kind += f" ({value})"
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _takes_bool(kinds: Kinds) -> bool:
    return kinds is bool or (isinstance(kinds, tuple) and bool in kinds)
