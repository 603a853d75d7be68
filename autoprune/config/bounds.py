"""Bounds on the widths of single groups, as text: ``PATTERN=LOW..HIGH``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from autoprune.errors import ConfigError
from autoprune.utils.untrusted import short

EXAMPLES = "'layer1.*=8..64', '*.conv2=25%..75%' or 'stem=16..16'"
_TEXT = re.compile(r"(?P<pattern>[^=]+)=(?P<low>[0-9]{1,9}%?)\.\.(?P<high>[0-9]{1,9}%?)")


@dataclass(frozen=True)
class Bound:
    """Fewest and most units of the groups whose name matches a glob.

    Attributes:
        pattern: as in :mod:`fnmatch`.
        low: units, or with ``%`` a share of the group's width.
        high: the same.
    """

    pattern: str
    low: str
    high: str

    def covers(self, group: str) -> bool:
        """Whether the group of that name is bound."""
        return fnmatchcase(group, self.pattern)

    def units(self, width: int) -> tuple[int, int]:
        """Fewest and most units of a group of this width, within 1 to `width`."""
        high = min(width, max(1, _units(self.high, width)))
        return min(high, max(1, _units(self.low, width))), high


def parse_bounds(texts: tuple[str, ...]) -> tuple[Bound, ...]:
    """Read the texts. Raises ConfigError that names the offending one and shows correct ones."""
    return tuple(map(_parse, texts))


def _parse(text: str) -> Bound:
    match = _TEXT.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ConfigError(f"bound {short(text)} cannot be read: write {EXAMPLES}")
    bound = Bound(match["pattern"], match["low"], match["high"])
    if bound.low.endswith("%") == bound.high.endswith("%") and _number(bound.low) > _number(bound.high):
        raise ConfigError(f"bound {short(text)} ends below its start: write {EXAMPLES}")
    return bound


def _number(text: str) -> int:
    return int(text.rstrip("%"))


def _units(text: str, width: int) -> int:
    return round(_number(text) * width / 100) if text.endswith("%") else _number(text)
