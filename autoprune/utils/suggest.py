"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1) -> str:
    """``", did you mean this or that?"``, to follow the name in a message; `otherwise` where none is like it.

    Args:
        name: as given; its case does not matter.
        known: the names that there are.
        otherwise: for a name that is like none of them.
        most: so many suggestions at most.
    """
    lower = {known_name.lower(): known_name for known_name in known}
    close = [lower[found] for found in get_close_matches(name.lower(), lower, n=most)]
    return f", did you mean {' or '.join(close)}?" if close else otherwise
