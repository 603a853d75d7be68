"""Passwords in storage URLs: they reach the database driver and nothing else."""

from __future__ import annotations

import re

HIDDEN = "***"
_USER = re.compile(r"(://[^:/@]*):.*@", re.DOTALL)
_NO_SCHEME = re.compile(r"^[^/]*:.*@", re.DOTALL)
_QUERY = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """A storage URL for people to read, or to be kept: each password in it is ``***``.

    What cannot be told apart from a password is hidden with it.
    """
    hidden = _USER.sub(rf"\1:{HIDDEN}@", text) if "://" in text else _NO_SCHEME.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", hidden)
