"""What callers in Python give, checked where it comes in: what is not understood is an error."""

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
    """Raise ArgumentError unless a value is of one of these types; True and False are no numbers.

    Args:
        name: of the argument, as the caller writes it.
        value: what was given.
        kinds: as `isinstance` takes them.
        accepted: what to give, such as ``"a torch.nn.Module"``.
        is_made: a function may have been given in place of what it makes.
    """
    if isinstance(value, kinds) and not (isinstance(value, bool) and not _takes_bool(kinds)):
        return
    call = "; call it first" if inspect.isclass(value) or (is_made and inspect.isroutine(value)) else ""
    raise ArgumentError(f"{name} is {described(value)}: give {accepted}{call}")


def whole_number(name: str, value: object, accepted: str = "a whole number") -> int:
    """A whole number, which may be one of NumPy's. Raises ArgumentError for anything else."""
    check_type(name, value, Integral, accepted)
    return int(cast(int, value))


def as_text(name: str, value: object, accepted: str) -> str:
    """A text, or a path as one. Raises ArgumentError for anything else."""
    check_type(name, value, (str, PurePath), accepted)
    return str(value)


def listed_texts(name: str, value: object, accepted: str) -> tuple[str, ...]:
    """Texts of a list or a tuple, or a single one. Raises ArgumentError for anything else."""
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
    """What a value is, for a message: ``a DataLoader``, ``a tuple (DataLoader, int)``, ``the text 'x'``."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= _LONGEST else "a text"
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
