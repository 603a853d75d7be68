"""Suggestions for an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1) -> str:
    """``", did you mean this or that?"``, to follow the name in a message; `otherwise` if none is similar.

    Args:
        name: the given name; case is ignored.
        known: the valid names.
        otherwise: the text for a name that is not similar to any of them.
        most: maximum number of suggestions.
    """
    lower = {known_name.lower(): known_name for known_name in known}
    close = [lower[found] for found in get_close_matches(name.lower(), lower, n=most)]
    return f", did you mean {' or '.join(close)}?" if close else otherwise
