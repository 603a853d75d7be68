"""What one unit of each group costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from autoprune.cost.latency.prediction import Predictor
from autoprune.cost.model import CostModel
from autoprune.errors import CriterionError

Prices = Callable[[], Mapping[str, float]]
"""Group name -> what the original model saves when one unit of that group goes."""


def unit_prices(
    costs: CostModel, predictor: Callable[[], Predictor | None] = lambda: None
) -> dict[str, Prices]:
    """Name of a cost -> its prices: ``flops``, ``params``, ``size`` and ``latency``.

    Latency is a step function: its price is the mean over all units but the last, relative to the original
    model, by what was fitted to all measurements, as the curve of a group that takes little time drowns in
    noise. It raises CriterionError when nothing was measured on the device.
    """
    full = dict(zip(costs.groups, costs.full.tolist(), strict=True))
    fields = {"flops": "flops", "params": "parameters", "size": "size"}

    def saved(field: str) -> Mapping[str, float]:
        whole = getattr(costs.costs(full), field)
        return {name: whole - getattr(costs.costs({**full, name: w - 1}), field) for name, w in full.items()}

    def quicker() -> Mapping[str, float]:
        known = predictor()
        if known is None:
            raise CriterionError("no latency of this model was measured here: run autoprune measure first")
        whole = known.ratio(full)
        return {n: (whole - known.ratio({**full, n: 1})) / (w - 1) for n, w in full.items() if w > 1}

    return {what: partial(saved, field) for what, field in fields.items()} | {"latency": quicker}
