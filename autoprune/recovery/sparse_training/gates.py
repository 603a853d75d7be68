"""L0 regularisation by hard-concrete gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.criteria.slices import unit_sums
from autoprune.recovery.sparse_training.penalty import Penalty, spread
from autoprune.structure.groups import Structure

TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Of the concrete distribution, and the interval that it is stretched to, as in the paper."""
START = 2.0
"""Logarithm of the odds at first: gates are open nine times in ten."""
RATE = 0.05
"""Adam's learning rate for the gates."""


class HardConcrete(Penalty):
    """A random gate on each unit, and a price for every gate that may be open.

    Louizos et al., "Learning Sparse Neural Networks through L0 Regularization" (2018). A gate multiplies a
    unit wherever it is read, which is done by multiplying the weights that read it; the chain rule then gives
    the gate's derivative from the weights' own, in any kind of layer. After the training the gates are at
    their deterministic values, and in the weights.
    """

    def __init__(self, model: nn.Module, structure: Structure, strength: float, steps: int) -> None:
        super().__init__(model, structure, strength, steps)
        self._groups = [group for group in structure.groups if self.parts(group, ("in",))]
        device = next(model.parameters()).device
        self._odds = {
            group.name: nn.Parameter(torch.full((group.width,), START, device=device))
            for group in self._groups
        }
        self._optimizer = torch.optim.Adam(self._odds.values(), lr=RATE)
        self._units = sum(group.width for group in self._groups)
        self._stored: dict[str, Tensor] = {}
        self._drawn: dict[str, Tensor] = {}

    def before(self, step: int) -> None:
        """Draw the gates and multiply by them."""
        self._drawn = {name: self._sample(odds) for name, odds in self._odds.items()}
        gates = {name: gate.detach() for name, gate in self._drawn.items()}
        self._stored = {name: self.values[name].detach().clone() for name in self._gated()}
        self._multiply(gates)

    def differentiated(self, step: int) -> None:
        """Chain rule to gates and weights; then one step of the gates with their price."""
        gates = {name: gate.detach() for name, gate in self._drawn.items()}
        pulls = self._pulls(gates)
        with torch.no_grad():
            for name, stored in self._stored.items():
                gradient = self.values[name].grad
                if gradient is not None:
                    gradient.mul_(self._factors(name, gates))
                self.values[name].copy_(stored)
        self._optimizer.zero_grad()
        for name, gate in self._drawn.items():
            torch.autograd.backward(gate, pulls[name].to(gate))
        price = torch.stack([self._open(odds).sum() for odds in self._odds.values()]).sum() / self._units
        torch.autograd.backward(self.strength * price)
        self._optimizer.step()

    def finished(self) -> None:
        """Put the gates into the weights."""
        self._multiply(self._expected())

    def scores(self) -> dict[str, Tensor]:
        """Where the gates ended: the odds of being open, as a probability."""
        return {name: odds.detach().sigmoid().double().cpu() for name, odds in self._odds.items()}

    def state(self) -> Mapping[str, Any]:
        """The gates and their optimiser."""
        odds = {name: value.detach() for name, value in self._odds.items()}
        return {"odds": odds, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        with torch.no_grad():
            for name, value in state["odds"].items():
                self._odds[name].copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])

    def _pulls(self, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Derivative of the loss by each gate: over the weights that it multiplies, without itself."""
        pulls = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in self._groups}
        for group in self._groups:
            others = {**gates, group.name: torch.ones_like(gates[group.name])}
            for part in self.parts(group, ("in",)):
                gradient = self.values[part.parameter].grad
                if gradient is not None:
                    open_ = self._stored[part.parameter] * self._factors(part.parameter, others)
                    pulls[group.name] += unit_sums(gradient * open_, part)
        return pulls

    def _sample(self, odds: Tensor) -> Tensor:
        noise = torch.rand_like(odds).clamp(1e-6, 1 - 1e-6)
        drawn = ((noise.log() - (1 - noise).log() + odds) / TEMPERATURE).sigmoid()
        return (drawn * (HIGH - LOW) + LOW).clamp(0, 1)

    def _expected(self) -> dict[str, Tensor]:
        return {
            name: (odds.detach().sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)
            for name, odds in self._odds.items()
        }

    def _open(self, odds: Tensor) -> Tensor:
        """The probability of a gate that is not closed."""
        return (odds - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid()

    def _gated(self) -> list[str]:
        return sorted({part.parameter for group in self._groups for part in self.parts(group, ("in",))})

    def _factors(self, parameter: str, gates: Mapping[str, Tensor]) -> Tensor:
        value = self.values[parameter]
        factor = torch.ones_like(value)
        for group in self._groups:
            for part in self.parts(group, ("in",)):
                if part.parameter == parameter:
                    factor = factor * spread(gates[group.name], part, value, 1.0)
        return factor

    def _multiply(self, gates: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name in self._gated():
                self.values[name].mul_(self._factors(name, gates))
