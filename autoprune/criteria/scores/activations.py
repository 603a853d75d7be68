"""Statistics of the activations: one forward pass over the calibration data, read by several criteria."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.observation import Observation, first_and_all, observer
from autoprune.criteria.unit_activations import Key
from autoprune.structure.graph.trace import ready


@dataclass(eq=False)
class Activity:
    """What one read of a group shows of its units.

    Attributes:
        magnitude: ``[width]``: sum of ``|a|`` over samples, entries of the unit and positions.
        zeros: ``[width]``: how many of these entries are exactly zero.
        entries: their number.
        pooled: mean over entries and positions for each sample, ``[samples, width]`` a batch; of states,
            for each step.
    """

    magnitude: Tensor
    zeros: Tensor
    entries: int = 0
    pooled: list[Tensor] = field(default_factory=list)

    def add(self, values: Tensor) -> None:
        """Count ``[samples, width, ...]`` in."""
        flat = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
        self.magnitude += flat.abs().sum(dim=(0, 2), dtype=torch.float64).cpu()
        self.zeros += (flat == 0).sum(dim=(0, 2)).double().cpu()
        self.entries += flat.shape[0] * flat.shape[2]
        self.pooled.append(flat.float().mean(dim=2).cpu())


Activities = Mapping[str, list[Activity]]
"""Group name -> what each of its reads shows."""


def activities(context: Context, criterion: str) -> Activities:
    """The pass, made once a context. Raises CriterionError without data or where units cannot be seen."""
    # Asked for before the memory, so that a missing input is an error in any order of calls.
    context.data(criterion)

    def make() -> Activities:
        every: dict[Key, Activity] = {}

        def see(seen: Observation) -> None:
            values = seen.units()
            if seen.read.key not in every:
                zeros = torch.zeros(values.shape[1], dtype=torch.float64)
                every[seen.read.key] = Activity(zeros.clone(), zeros)
            every[seen.read.key].add(values)

        observe(context, criterion, see)
        found: dict[str, list[Activity]] = defaultdict(list)
        for key, activity in every.items():
            found[key[-1]].append(activity)
        return found

    return context.once("activities", make)


def observe(context: Context, criterion: str, see: Callable[[Observation], None]) -> None:
    """Run the model in eval mode on all calibration batches and show every read of its groups."""
    first, batches = first_and_all(context.data(criterion))
    model = ready(context.model)
    device = next(model.parameters()).device

    def visit(seen: Observation) -> Tensor:
        see(seen)
        return seen.tensor

    watcher = observer(model, context.structure, first.to(device))
    with torch.no_grad():
        for inputs, _ in batches:
            watcher.run(inputs.to(device), visit)


def over_reads(context: Context, every: Activities, score: Callable[[Activity], Tensor]) -> dict[str, Tensor]:
    """The mean of a score over the reads of each group."""
    return {
        group.name: torch.stack([score(activity) for activity in every[group.name]]).mean(dim=0)
        for group in context.structure.groups
    }
