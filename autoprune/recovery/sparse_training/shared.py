"""For weights with several uses: units that their uses pull in opposite directions move towards zero."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.criteria.slices import unit_sums
from autoprune.errors import ConfigError
from autoprune.recovery.sparse_training.lasso import shrink
from autoprune.recovery.sparse_training.penalty import Penalty
from autoprune.structure.groups import Structure, Untying
from autoprune.structure.surgery.untie import plan_untying, untied
from autoprune.tasks.data import Data
from autoprune.tasks.evaluate import call, device_of, loss_of, training_mode

EVERY = 5
"""Steps after which the uses are asked again."""
MEMORY = 0.8
"""How much of what was found before stays, when they are."""


class OpposedUses(Penalty):
    """A group lasso on the units of shared weights, as strong as the gradients of their uses disagree.

    Each use has a gradient of its own, which a copy of the model shows that has the weight once for each use.
    A unit whose uses agree is left alone; one whose uses pull in exactly opposite directions loses as much
    as with a group lasso. The angle between gradients as a measure of conflict is that of Yu et al.,
    "Gradient Surgery for Multi-Task Learning" (2020).

    Raises ConfigError where no weight with several uses can be cut.
    """

    def __init__(
        self, model: nn.Module, structure: Structure, strength: float, steps: int, data: Data, seed: int
    ) -> None:
        super().__init__(model, structure, strength, steps)
        untying = plan_untying(model, (data.example(1).to(device_of(model)),))
        self._uses = {} if untying is None else _uses(model, untying, set(self.values))
        if untying is None or not any(self._shared(group.name) for group in structure.groups):
            raise ConfigError("no weight that can be cut is used several times: use --sparsify group-lasso")
        self._untying, self._data = untying, data
        self._generator = torch.Generator().manual_seed(seed)
        self._batches = data.train.batches(64, shuffle=self._generator)
        self._conflict = {
            group.name: torch.zeros(group.width, dtype=torch.float64)
            for group in structure.groups
            if self._shared(group.name)
        }

    def updated(self, step: int) -> None:
        """Shrink the units of shared weights by how much their uses disagree."""
        if (step - 1) % EVERY == 0:
            found = self._disagreement()
            for name, before in self._conflict.items():
                self._conflict[name] = (
                    found[name] if step == 1 else MEMORY * before + (1 - MEMORY) * found[name]
                )
        for name, conflict in self._conflict.items():
            shrink(self, self.structure.group(name), self.strength * self.share(step) * conflict)

    @property
    def conflict(self) -> Mapping[str, Tensor]:
        """Group -> how much the uses of each unit's weights disagree, ``[width]`` from 0 to 1."""
        return self._conflict

    def state(self) -> Mapping[str, Any]:
        """What the uses were found to say."""
        return {"conflict": self._conflict, "random": self._generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`; the batches begin a new pass."""
        self._conflict = dict(state["conflict"])
        self._generator.set_state(state["random"])
        self._batches = self._data.train.batches(64, shuffle=self._generator)

    def _shared(self, group: str) -> list[str]:
        return [
            part.parameter for part in self.parts(self.structure.group(group)) if part.parameter in self._uses
        ]

    def _disagreement(self) -> dict[str, Tensor]:
        """How far the gradients of the uses point apart: minus the cosine, unit by unit; 0 if they agree."""
        apart = untied(self.model, self._untying)
        device = device_of(self.model)
        inputs, targets = self._next()
        with training_mode(apart, False), torch.enable_grad():
            torch.autograd.backward(
                loss_of(self._data.task, call(apart, inputs.to(device)), targets.to(device))
            )
        copies = dict(apart.named_parameters(remove_duplicate=False))
        found = {}
        for name in self._conflict:
            group = self.structure.group(name)
            inner = torch.zeros(group.width, dtype=torch.float64)
            sizes = torch.zeros(group.width, dtype=torch.float64)
            for part in self.parts(group):
                for first, second in _pairs(self._uses.get(part.parameter, ()), copies):
                    inner += unit_sums(first * second, part)
                    sizes += (unit_sums(first.square(), part) * unit_sums(second.square(), part)).sqrt()
            found[name] = torch.where(sizes > 0, -inner / sizes.clamp_min(1e-30), 0.0).clamp(0, 1)
        return found

    def _next(self) -> tuple[Tensor, Tensor]:
        batch = next(self._batches, None)
        if batch is None:
            self._batches = self._data.train.batches(64, shuffle=self._generator)
            batch = next(self._batches)
        return batch


def _uses(model: nn.Module, untying: Untying, known: set[str]) -> dict[str, list[str]]:
    """Parameter that has several uses -> the names that its uses have in the untied model."""
    first: dict[int, str] = {}
    uses: dict[str, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        origin = first.setdefault(id(parameter), name)
        if name == origin or name in untying.apart:
            uses[origin].append(name)
    for path, calls in untying.repeats:
        for origin, names in uses.items():
            repeated = [name for name in names if name.startswith(f"{path}.")]
            if repeated:
                kept = [name for name in names if name not in repeated]
                turns = [f"{path}.{call}{n.removeprefix(path)}" for n in repeated for call in range(calls)]
                uses[origin] = kept + turns
    several = {name: names for name, names in uses.items() if len(names) > 1}
    by_id = {id(p): n for n, p in model.named_parameters(remove_duplicate=False) if n in known}
    named = dict(model.named_parameters(remove_duplicate=False))
    return {by_id[id(named[name])]: names for name, names in several.items() if id(named[name]) in by_id}


def _pairs(
    names: list[str] | tuple[str, ...], copies: Mapping[str, nn.Parameter]
) -> list[tuple[Tensor, Tensor]]:
    """The gradients of every two uses."""
    gradients = [g for name in names if name in copies and (g := copies[name].grad) is not None]
    return [(one, other) for at, one in enumerate(gradients) for other in gradients[at + 1 :]]
