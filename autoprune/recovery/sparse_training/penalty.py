"""What every way of sparse training does around the steps of ordinary training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autoprune.criteria.slices import unit_sums
from autoprune.structure.groups import Group, Role, Slice, Structure

COUPLED: tuple[Role, ...] = ("out", "pass", "in")


class Penalty:
    """Takes part in training; by itself it does nothing.

    Penalties act as a proximal step after the optimiser's: what they take away then depends neither on the
    optimiser nor on the scale of the loss, and what ends at zero is exactly zero. Over the whole phase, a
    weight of average size that no gradient defends loses the share `strength` of itself; a step takes the
    part of that which its learning rate has in the sum of all, by a cosine schedule.

    Args:
        model: is trained, in place.
        structure: its groups.
        strength: above 0.
        steps: length of the phase.
    """

    criterion: ClassVar[str] = "l2"
    """What ranks units after the training."""

    def __init__(self, model: nn.Module, structure: Structure, strength: float, steps: int) -> None:
        self.model, self.structure, self.strength, self.steps = model, structure, strength, steps
        named = dict(model.named_parameters(remove_duplicate=False))
        self.values = {name: named[name] for name in structure.parameters if name in named}

    def before(self, step: int) -> None:
        """Change what the forward pass of a step sees."""

    def differentiated(self, step: int) -> None:
        """Complete the gradients, and put back what :meth:`before` changed."""

    def updated(self, step: int) -> None:
        """Act on the weights after the optimiser."""

    def finished(self) -> None:
        """Leave the weights as they are to be used."""

    def scores(self) -> dict[str, Tensor] | None:
        """Group -> what its units are worth, ``[width]``, where the training itself says so."""
        return None

    def state(self) -> Mapping[str, Any]:
        """What a run that goes on needs."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""

    def share(self, step: int) -> float:
        """The part of the phase that a step is, by its learning rate."""
        return (1 + math.cos(math.pi * (step - 0.5) / self.steps)) / self.steps

    def parts(self, group: Group, roles: Sequence[Role] = COUPLED) -> list[Slice]:
        """The slices of a group in parameters that are trained."""
        return [part for part in group.slices if part.role in roles and part.parameter in self.values]


def spread(units: Tensor, part: Slice, like: Tensor, otherwise: float) -> Tensor:
    """One value a unit ``[width]`` where its entries are along an axis, in a shape that broadcasts."""
    index = torch.from_numpy(part.index).to(like.device)
    along = torch.full((like.shape[part.axis],), otherwise, dtype=like.dtype, device=like.device)
    along[index.reshape(-1)] = units.to(like).repeat_interleave(index.shape[1])
    shape = [1] * like.ndim
    shape[part.axis] = -1
    return along.reshape(shape)


def relative_sizes(penalty: Penalty, group: Group) -> Tensor:
    """Norm of each unit over the weights that go with it, ``[width]``, relative to the group's mean.

    Every weight matrix counts alike, whatever its scale: its squares are divided by their mean over the
    units. Biases and normalisations are left out, except in a group that has nothing else.
    """
    total = torch.zeros(group.width, dtype=torch.float64)
    parts = penalty.parts(group)
    for part in [part for part in parts if penalty.values[part.parameter].ndim > 1] or parts:
        squares = unit_sums(penalty.values[part.parameter].detach().float().square(), part)
        mean = squares.mean()
        total += squares / mean if mean > 0 else squares
    norms = total.sqrt()
    mean = norms.mean()
    return norms / mean if mean > 0 else norms
