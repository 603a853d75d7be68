"""How much of a model's cost hangs on each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from autoprune.cost.latency.meter import Meter
from autoprune.cost.latency.setting import Inputs, Setting
from autoprune.cost.model import CostModel
from autoprune.structure import Plan, Structure, apply
from autoprune.structure.groups import Extent, Group


@dataclass(frozen=True)
class Shares:
    """The part of the original model's cost that would be gone without the units of one group.

    A layer between two groups counts for both, so that shares add up to more than 1.
    """

    flops: float
    parameters: float


@dataclass(frozen=True)
class LatencyShare:
    """The part of measured latency that is gone when one unit of a group is left.

    Attributes:
        share: below 0 where the narrow model is slower than the original.
        low: lower bound of its 95 % confidence interval.
        high: upper bound.
    """

    share: float
    low: float
    high: float


def cost_shares(structure: Structure, costs: CostModel) -> dict[str, Shares]:
    """Group -> its shares, from the closed forms."""
    full = costs.costs(structure.widths)
    shares = {}
    for name in structure.widths:
        without = costs.costs({**structure.widths, name: 0})
        flops = 1 - without.flops / full.flops if full.flops else 0.0
        shares[name] = Shares(flops, 1 - without.parameters / full.parameters)
    return shares


def latency_shares(
    model: nn.Module, structure: Structure, inputs: Inputs, setting: Setting
) -> Iterator[tuple[str, LatencyShare]]:
    """Group by group, the share of measured latency that is gone when one unit of it is left.

    Groups that do the same work are measured once.
    Raises TrialError if a model does not run.
    """
    meter = Meter(model, inputs, setting, cuts=True)
    known: dict[object, LatencyShare] = {}
    for group in structure.groups:
        work = work_of(structure, group)
        if work not in known:
            narrow = narrowed(model, structure, {group.name: min(1, group.width - 1)})
            found = meter.measure(narrow)
            known[work] = LatencyShare(1 - found.ratio, 1 - found.ratio_high, 1 - found.ratio_low)
        yield group.name, known[work]


def narrowed(model: nn.Module, structure: Structure, widths: Mapping[str, int]) -> nn.Module:
    """The model with the first units of these groups, sharing tensors with it: for timing, not for use."""
    keep = {name: tuple(range(width)) for name, width in widths.items()}
    return apply(model, Plan.of(structure, keep), structure, share=True)


def work_of(structure: Structure, group: Group) -> object:
    """What hangs on a group's width: kinds and shapes of the operators, all other groups being whole.

    Groups with the same work cost the same at every width.
    """
    full = structure.widths

    def axis(extent: Extent) -> tuple[int, int]:
        return extent.at(full), dict(extent.per_group).get(group.name, 0)

    work = []
    for operation in structure.operations:
        shapes = [tuple(map(axis, shape)) for shape in (*operation.inputs, operation.output)]
        if any(k for shape in shapes for _, k in shape) or operation.block == group.name:
            work.append((operation.kind, tuple(shapes)))
    return group.kind, group.width, tuple(sorted(work))
