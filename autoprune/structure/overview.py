"""What is shown of structures and plans in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from autoprune.utils.overview import counted, listed, overview_html, overview_text


class Overview:
    """Shows an object by its :meth:`_overview`: in a terminal as lines, in a notebook as a table."""

    def _overview(self) -> Mapping[str, str]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return overview_text(type(self).__name__, self._overview())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return overview_html(type(self).__name__, self._overview())


def groups_text(groups: Collection[Any]) -> str:
    """How many groups there are of each kind."""
    kinds = Counter(group.kind for group in groups)
    parts = [kind if len(kinds) == 1 else f"{count:,} of {kind}" for kind, count in kinds.most_common()]
    return f"{len(groups):,}" + (f" ({listed(parts)})" if parts else "")


def frozen_text(free: Collection[str], frozen: Mapping[str, str]) -> str:
    """How many of all layers stay as they are, and the most frequent reason."""
    if not frozen:
        return "no layer"
    layers = len(set(free) | set(frozen))
    reason, count = Counter(frozen.values()).most_common(1)[0]
    share = f"{len(frozen):,} of {counted(layers, 'layer')} ({len(frozen) / layers:.0%})"
    return f"{share}, {'all' if count == len(frozen) else f'{count:,} of them'}: {reason}"


def kept_text(kept: Mapping[str, int]) -> str:
    """The first few groups with the units that stay of them."""
    return listed([f"{name}: {count:,}" for name, count in kept.items()])
