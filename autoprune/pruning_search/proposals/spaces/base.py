"""What every space does."""

from __future__ import annotations

from typing import Protocol

from autoprune.pruning_search.problem.width_grid import AnyTrial
from autoprune.structure.plans import Widths

LEVEL = "level %"
"""Parameter that says which share of the budget a plan takes, in the space that has one."""


class Space(Protocol):
    """A parametrisation of the widths of all groups."""

    def suggest(self, trial: AnyTrial) -> Widths:
        """Ask the trial for parameters and turn them into widths that meet the budget, as far as known."""

    def parameters(self, widths: Widths) -> dict[str, int | float]:
        """Parameters that give these widths or come near them, for a trial that is enqueued.

        A warm start keeps its own widths; the parameters are where the sampler thinks of it.
        """
