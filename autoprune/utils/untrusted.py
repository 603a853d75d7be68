"""Reading small untrusted files, with limits so that none of them can hang or exhaust memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from autoprune.errors import UserError
from autoprune.utils.plain_files import open_plain
from autoprune.utils.suggest import did_you_mean

MOST_BYTES = 8 << 20
"""Maximum file size: a plan that keeps a million units takes 7 MB."""
MOST_TEXT = 4096
"""Maximum length of a string in a file."""
MOST_GROUPS, MOST_UNITS = 100_000, 2_000_000
"""Maximum number of groups in a file, and of units in all of them together."""
_SHOWN, _NAMED = 60, 3


def read_text(file: Path, what: str, error: type[UserError], most_bytes: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file; `what` names it in messages, such as ``"plan"``.

    Raises:
        UserError: of the given type, if the file is missing, not a regular file, too large, or not text.
    """
    try:
        if file.exists() and not file.is_file():
            raise error(f"{what} {file} cannot be read: it is not a file")
        with open_plain(file) as opened:
            content = opened.read(most_bytes + 1)
    except FileNotFoundError:
        raise error(f"{what} {file} does not exist: check the path") from None
    except (OSError, ValueError) as failure:  # a name that no file system takes, among others
        raise error(f"{what} {short(str(file))} cannot be read: {short_line(failure)}") from failure
    if len(content) > most_bytes:
        raise error(f"{what} {file} cannot be read: it is larger than {most_bytes:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{what} {file} cannot be read: it is not a text file in UTF-8") from None


def is_file(path: Path) -> bool:
    """Whether there is such a file; false for a name that the file system rejects."""
    try:
        return path.is_file()
    except OSError:
        return False


def json_object(text: str, what: str, error: type[UserError]) -> dict[str, Any]:
    """Parse a JSON object with unique keys and finite numbers.

    Raises:
        UserError: of the given type, for anything else.
    """
    if len(text) > MOST_BYTES:
        raise error(f"{what} is longer than {MOST_BYTES:,} characters")
    try:
        document: Any = json.loads(text, parse_constant=_not_finite, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as failure:
        reason = "it is nested too deeply" if isinstance(failure, RecursionError) else short_line(failure)
        raise error(f"{what} is not JSON: {reason}") from None
    if not isinstance(document, dict):
        raise error(f"{what} is no JSON object")
    return document


def check_keys(document: Mapping[str, Any], known: Iterable[str], what: str, error: type[UserError]) -> None:
    """Raise an error of the given type that names the keys which `what` does not have, and the nearest."""
    choices = sorted(known)
    unknown = sorted(set(document) - set(choices))
    if not unknown:
        return
    named = ", ".join(map(short, unknown[:_NAMED]))
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    hint = did_you_mean(unknown[0][:_SHOWN], choices, f": there are {', '.join(choices)}")
    raise error(f"{what} has unknown keys: {named}{more}{hint}")


def is_text(value: object) -> bool:
    """Whether a value is a text of a length that has a use."""
    return isinstance(value, str) and len(value) <= MOST_TEXT


def is_whole(value: object, least: int = 0, most: int = 2**31 - 1) -> bool:
    """Whether a value is a whole number in this range."""
    return type(value) is int and least <= value <= most


def short(text: str) -> str:
    """A text for a message: in quotes, on one line, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def short_line(failure: BaseException) -> str:
    """What an exception says, on one line, cut where it is long."""
    line = " ".join(str(failure).split()) or type(failure).__name__
    return line if len(line) <= 2 * _SHOWN else line[: 2 * _SHOWN] + "..."


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no finite number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {short(repeated)} is given twice")
    return found
