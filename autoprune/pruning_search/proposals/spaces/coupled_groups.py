"""Groups that behave alike and share a parameter, where there are too many for one each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from autoprune.pruning_search.problem.pruning import PrunableGroup

MOST = 40
"""Parameters beyond which groups are tied: over more, a sampler learns little in hundreds of trials."""


def coupled_groups(groups: Sequence[PrunableGroup]) -> dict[str, tuple[str, ...]]:
    """Parameter name -> the groups that share it.

    Up to :data:`MOST` groups have a parameter of their own. Of more, those are tied that have the same kind
    and width and the same place in their blocks (the same name but for numbers), next to each other, and as
    few of them as that number of parameters allows.
    """
    if len(groups) <= MOST:
        return {group.name: (group.name,) for group in groups}
    alike: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for group in groups:
        alike[group.kind, group.width, re.sub(r"\d+", "*", group.name)].append(group.name)
    for size in range(2, max(2, *map(len, alike.values())) + 1):
        runs = [names[at : at + size] for names in alike.values() for at in range(0, len(names), size)]
        if len(runs) <= MOST:
            break
    return {_name(run): tuple(run) for run in runs}


def _name(run: Sequence[str]) -> str:
    return run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}"
