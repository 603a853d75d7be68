"""Objects that a caller names in Python by a text: ``package.module:name`` and ``path/file.py:name``."""

from __future__ import annotations

from typing import Any

from autoprune.config.references import parse_code
from autoprune.config.user_code import Permit, load_object, summary
from autoprune.errors import UserError

__all__ = ["is_reference", "resolve", "summary"]


def is_reference(spec: str) -> bool:
    """Whether ``spec`` has the form of a reference (it need not exist)."""
    return parse_code(spec) is not None


def resolve(spec: str, what: str, error: type[UserError] = UserError) -> Any:
    """The object that the caller names; ``what`` says in messages what it is for, such as ``"model"``.

    Raises ``error`` when the form is wrong, the file or name is missing, or the import fails.
    """
    code = parse_code(spec)
    if code is None:
        raise error(f"{what} {spec!r} is no reference: write package.module:name or path/file.py:name")
    return load_object(code, Permit.naming(code), what, error)
