"""Redaction of passwords in storage URLs."""

from __future__ import annotations

import re

HIDDEN = "***"
_USER = re.compile(r"(://[^:/@]*):.*@", re.DOTALL)
_NO_SCHEME = re.compile(r"^[^/]*:.*@", re.DOTALL)
_QUERY = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """A storage URL for display or storage, with each password replaced by ``***``.

    Parts that cannot be distinguished from a password are hidden too.
    """
    hidden = _USER.sub(rf"\1:{HIDDEN}@", text) if "://" in text else _NO_SCHEME.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", hidden)
