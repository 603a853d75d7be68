"""BatchNorm scales: channels that BatchNorm nearly silences go first.

Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (2017). The scales say most
after training with an L1 penalty on them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.config.commands import command_line, flag
from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.slices import unit_sums
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group


@register("bn-scale")
class BatchNormScale:
    """Mean of ``|scale|`` over the BatchNorms that carry a unit; one threshold serves the whole model."""

    relative = False

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit. Raises CriterionError for a group that passes through no BatchNorm."""
        scales = {
            f"{path}.weight": module.weight.detach()
            for path, module in context.model.named_modules(remove_duplicate=False)
            if isinstance(module, _BatchNorm) and isinstance(module.weight, nn.Parameter)
        }
        return {group.name: _score(group, scales) for group in context.structure.groups}


def _score(group: Group, scales: dict[str, Tensor]) -> Tensor:
    parts = [part for part in group.slices if part.role == "pass" and part.parameter in scales]
    if not parts:
        raise CriterionError(
            f"criterion bn-scale: group {group.name!r} passes through no BatchNorm with a scale: "
            f"keep it whole with {command_line(*flag('--skip', group.name))}, or use criterion l2"
        )
    each = [unit_sums(scales[part.parameter].abs(), part) / part.index.shape[1] for part in parts]
    return torch.stack(each).mean(dim=0)
