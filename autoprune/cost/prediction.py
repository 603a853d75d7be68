"""The latency of a whole plan, predicted from what each group costs alone: to screen, never to report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from autoprune.cost.model import CostModel
from autoprune.cost.profile import Profile


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts latencies relative to the uncut model's.

    The savings of all groups, each cut alone, would count a layer between two groups twice. By how much is
    known of FLOPs, whose closed form holds for whole plans: the sum of measured savings is scaled by what
    the plan saves in FLOPs over the sum of what its groups save in FLOPs alone. Groups whose curves do not
    stand out from the noise are left out of both sums: they are taken to save as much for a FLOP as others.

    Attributes:
        profile: the measured curves.
        costs: closed forms of the same model.
        widths: group -> its full width.
    """

    profile: Profile
    costs: CostModel
    widths: Mapping[str, int]

    def ratio(self, widths: Mapping[str, int]) -> float:
        """Predicted latency of a plan, relative to the uncut model's; never below 0."""
        alone = [self._saved(name, width) for name, width in widths.items() if width < self.widths[name]]
        latency, flops = (sum(saved) for saved in zip(*alone, strict=True)) if alone else (0.0, 0.0)
        if flops <= 0:
            return 1.0
        together = 1 - self.costs.flops(widths) / self._full
        return max(0.0, 1 - latency * together / flops)

    @cached_property
    def _full(self) -> int:
        return self.costs.flops(self.widths)

    def _saved(self, group: str, width: int) -> tuple[float, float]:
        """Shares of latency and FLOPs that are gone when this group alone is cut."""
        known = self._known.get((group, width))
        if known is None:
            stair = self.profile.stairs.get(group)
            known = (0.0, 0.0)
            if stair is not None and stair.tells:
                flops = self.costs.flops({**self.widths, group: width})
                known = 1 - stair.at(width), 1 - flops / self._full
            self._known[group, width] = known
        return known

    @cached_property
    def _known(self) -> dict[tuple[str, int], tuple[float, float]]:
        return {}
