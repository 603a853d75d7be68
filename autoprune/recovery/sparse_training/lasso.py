"""L1 and group-lasso regularisation, and slimming of BatchNorm scales."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.criteria.slices import unit_sums
from autoprune.errors import ConfigError
from autoprune.recovery.sparse_training.penalty import Penalty, relative_sizes, spread
from autoprune.structure.groups import Group, Structure


class L1Penalty(Penalty):
    """Every weight that goes with a unit moves towards zero at the same speed (Tibshirani, 1996)."""

    criterion: ClassVar[str] = "l1"

    def __init__(self, model: nn.Module, structure: Structure, strength: float, steps: int) -> None:
        super().__init__(model, structure, strength, steps)
        names = {p.parameter for g in structure.groups for p in self.parts(g, ("out", "in"))}
        self._weights = {name: self.values[name] for name in sorted(names) if self.values[name].ndim > 1}
        self._sizes = {name: float(value.detach().abs().mean()) for name, value in self._weights.items()}

    def updated(self, step: int) -> None:
        """Soft thresholding."""
        with torch.no_grad():
            for name, value in self._weights.items():
                lost = self.strength * self.share(step) * self._sizes[name]
                value.copy_(value.sign() * (value.abs() - lost).clamp_min(0))


class GroupLasso(Penalty):
    """The norm of every unit moves towards zero at the same speed, with all that goes with the unit.

    Wen et al., "Learning Structured Sparsity in Deep Neural Networks" (2016); over coupled layers as in
    Fang et al., "DepGraph" (2023).
    """

    def updated(self, step: int) -> None:
        """Block soft thresholding."""
        lost = self.strength * self.share(step)
        for group in self.structure.groups:
            if group.block is None:
                shrink(self, group, torch.full((group.width,), lost, dtype=torch.float64))


class Slimming(Penalty):
    """BatchNorm scales move towards zero: Liu et al., "Network Slimming" (2017).

    Raises ConfigError for a model without scales on its units.
    """

    criterion: ClassVar[str] = "bn-scale"

    def __init__(self, model: nn.Module, structure: Structure, strength: float, steps: int) -> None:
        super().__init__(model, structure, strength, steps)
        norms = {
            f"{path}.weight"
            for path, module in model.named_modules(remove_duplicate=False)
            if isinstance(module, _BatchNorm) and isinstance(module.weight, nn.Parameter)
        }
        carried = {p.parameter for g in structure.groups for p in self.parts(g, ("pass",))} & norms
        if not carried:
            raise ConfigError("slimming needs BatchNorm behind what is cut: use --sparsify group-lasso")
        self._scales = [self.values[name] for name in sorted(carried)]
        self._size = float(torch.cat([scale.detach().abs().flatten() for scale in self._scales]).mean())

    def updated(self, step: int) -> None:
        """Soft thresholding, by one threshold for the whole model."""
        lost = self.strength * self.share(step) * self._size
        with torch.no_grad():
            for scale in self._scales:
                scale.copy_(scale.sign() * (scale.abs() - lost).clamp_min(0))


class Growing(Penalty):
    """A weight decay that grows, until weights differ by how much the loss defends them.

    Wang et al., "Neural Pruning via Growing Regularization" (GReg-2, 2021): the curvature of the loss
    decides how far each weight gives way to a penalty that is the same for all.
    """

    criterion: ClassVar[str] = "l1"

    def updated(self, step: int) -> None:
        """Decay, ever more of it; as a share of the weights, whose sum over the phase is the strength."""
        kept = 1 - min(1.0, 2 * self.strength * (step - 0.5) / self.steps**2)
        names = {p.parameter for g in self.structure.groups for p in self.parts(g, ("out", "in"))}
        with torch.no_grad():
            for name in sorted(names):
                self.values[name].mul_(kept)


def shrink(penalty: Penalty, group: Group, lost: Tensor) -> None:
    """Take so much of each unit's norm away, ``[width]`` relative to the group's mean."""
    sizes = relative_sizes(penalty, group)
    kept = torch.where(sizes > lost, 1 - lost / sizes.clamp_min(1e-12), 0.0)
    with torch.no_grad():
        for part in penalty.parts(group):
            value = penalty.values[part.parameter]
            value.mul_(spread(kept, part, value, 1.0))


def scale_scores(penalty: Slimming) -> dict[str, Tensor]:
    """Group -> mean of ``|scale|`` over its BatchNorms, for the groups that have any."""
    found = {}
    held = {id(scale) for scale in penalty._scales}
    for group in penalty.structure.groups:
        parts = [p for p in penalty.parts(group, ("pass",)) if id(penalty.values[p.parameter]) in held]
        each = [unit_sums(penalty.values[p.parameter].detach().abs(), p) / p.index.shape[1] for p in parts]
        if each:
            found[group.name] = torch.stack(each).mean(dim=0)
    return found
