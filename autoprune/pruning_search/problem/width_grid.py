"""Which widths of a group are tried."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FixedTrial, Trial

from autoprune.config.bounds import Bound, parse_bounds
from autoprune.config.settings import Config
from autoprune.pruning_search.problem.pruning import Prunable, PrunableGroup
from autoprune.structure.masks import MaskGroup
from autoprune.structure.masks.patterns import NOfM

AnyTrial = Trial | FixedTrial
"""One of a study, or one whose parameters are given and that only turns them into a plan."""
MOST_STEPS = 15
"""Steps between the narrowest and the full width of a group where the device's own are not known."""
MOST_MASK_STEPS = 63
"""The same for masks, of which a twentieth of the units may be all that stays."""


@dataclass(frozen=True)
class Grid:
    """The widths ``low, low + step, ...`` below ``high``, and ``high``."""

    low: int
    high: int
    step: int

    @property
    def top(self) -> int:
        """``high`` rounded up to a whole number of steps, as Optuna's ranges have to be."""
        return self.low + math.ceil((self.high - self.low) / self.step) * self.step

    def nearest(self, width: float) -> int:
        """The width on the grid next to this one."""
        return min(self.high, max(self.low, self.low + self.step * round((width - self.low) / self.step)))

    def wider(self, width: int) -> int:
        """The next width; the widest one stays as it is."""
        return min(self.high, width + self.step)

    def suggest(self, trial: AnyTrial, name: str) -> int:
        """A width, as the parameter of this name."""
        return self.nearest(trial.suggest_int(name, self.low, self.top, step=self.step))

    def parameter(self, width: int) -> int:
        """The parameter that gives this width; a full width that is off the steps is rounded up to one."""
        return self.top if width >= self.high else width


@dataclass(frozen=True)
class StepGrid:
    """Widths at irregular distances: the top edges of a device's steps.

    Optuna's ranges are even, so that a parameter is the position of a width among them.
    """

    widths: tuple[int, ...]

    @property
    def low(self) -> int:
        """The narrowest one."""
        return self.widths[0]

    @property
    def high(self) -> int:
        """The widest one."""
        return self.widths[-1]

    def nearest(self, width: float) -> int:
        """The width on the grid next to this one, the narrower of two."""
        return self.widths[self._position(width)]

    def wider(self, width: int) -> int:
        """The next width; the widest one stays as it is."""
        return self.widths[min(bisect_right(self.widths, width), len(self.widths) - 1)]

    def suggest(self, trial: AnyTrial, name: str) -> int:
        """A width, whose position is the parameter of this name."""
        return self.widths[trial.suggest_int(name, 0, len(self.widths) - 1)]

    def parameter(self, width: int) -> int:
        """The position of the width next to this one."""
        return self._position(width)

    def _position(self, width: float) -> int:
        above = min(bisect_left(self.widths, width), len(self.widths) - 1)
        below = max(above - 1, 0)
        return below if width - self.widths[below] <= self.widths[above] - width else above


AnyGrid = Grid | StepGrid
OfferedWidths = Mapping[str, Sequence[int]]
"""Group -> the widths worth having on the device at hand, ascending."""


def widths_of(grid: AnyGrid) -> list[int]:
    """All widths of a grid, ascending."""
    widths = [grid.low]
    while widths[-1] < grid.high:
        widths.append(grid.wider(widths[-1]))
    return widths


def grids_of(
    structure: Prunable, config: Config, latency_steps: OfferedWidths | None = None
) -> dict[str, AnyGrid]:
    """Group -> its grid: the device's latency_steps where they are known and the settings leave it to us."""
    bounds = parse_bounds(config.bounds)
    grids: dict[str, AnyGrid] = {}
    for group in structure.groups:
        even = grid_of(group, config, bounds)
        edges = (
            [] if latency_steps is None or config.round_to != "auto" else latency_steps.get(group.name, [])
        )
        grids[group.name] = _on_steps(even, edges)
    return grids


def _on_steps(even: Grid, edges: Sequence[int]) -> AnyGrid:
    """The edges within the bounds, with the upper bound; the even grid where that leaves no choice."""
    within = [width for width in edges if even.low <= width < even.high]
    return StepGrid((*within, even.high)) if within else even


def grid_of(group: PrunableGroup | MaskGroup, config: Config, bounds: tuple[Bound, ...] = ()) -> Grid:
    """The grid that the settings give to a group; later bounds override earlier ones.

    By itself it has at most 16 widths, powers of two apart: wide layers run fastest at multiples of 4, 8
    or 16 channels, and a sampler learns little from the difference between 63 and 64. A block is there
    or not, and an N:M mask too, whatever bounds say of widths.
    """
    if isinstance(group, MaskGroup) and isinstance(group.pattern, NOfM):
        return Grid(group.least, group.width, group.width - group.least)
    if group.least == 0:
        return Grid(0, group.width, 1)
    low, high = max(1, config.min_width, round(config.min_density * group.width)), group.width
    for bound in bounds:
        if bound.covers(group.name):
            low, high = bound.units(group.width)
    low = min(low, high)
    if config.round_to == "auto":
        most = MOST_MASK_STEPS if isinstance(group, MaskGroup) else MOST_STEPS
        step = 1 << max(0, math.ceil(math.log2(max(high - low, 1) / most)))
        return Grid(high - (high - low) // step * step, high, step)
    rounded = math.ceil(low / config.round_to) * config.round_to
    return Grid(min(rounded, high), high, config.round_to)
