"""Masked models, and plain ones with the zeros in place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.structure.masks.parametrization import attach, detach
from autoprune.structure.wrappers import unwrapped
from autoprune.utils.arguments import check_type


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model whose masked weights stay zero while it trains; :func:`fold` makes it plain.

    Args:
        model: is not changed.
        masks: name of a parameter -> boolean mask in its shape, false where it becomes zero.
    """
    result = zeroed(unwrapped(model), masks)
    attach(result, masks)
    return result


def zeroed(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A plain copy of the model with the zeros in place, which training would fill again."""
    memo: dict[int, Any] = {}
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        zeros = torch.where(mask.to(weight.device), weight.detach(), 0)
        memo[id(weight)] = nn.Parameter(zeros, requires_grad=weight.requires_grad)
    return copy.deepcopy(model, memo)


def fold(model: nn.Module) -> nn.Module:
    """A copy without masks: their zeros are in the weights, and all names are those of the original model.

    Args:
        model: as :func:`autoprune.mask` returned it, perhaps trained since; it is left as it is.

    Returns:
        A plain module; training it would fill the zeros.

    Raises:
        ModelError: when a masked weight has another parametrization of the caller's.
        ArgumentError: for what is no module.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plain = autoprune.fold(autoprune.mask(network, torch.randn(1, 20), 0.75))
        >>> type(plain[0].weight).__name__, int(torch.count_nonzero(plain[0].weight))
        ('Parameter', 40)
    """
    check_type("model", model, nn.Module, "a torch.nn.Module")
    memo: dict[int, Any] = {}
    model = unwrapped(model)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            # Recurrent layers hold on to what a parametrization gave, which cannot be copied.
            memo |= {id(w): w for w in module._flat_weights if w is not None and not w.is_leaf}
    plain = copy.deepcopy(model, memo)
    detach(plain)
    return plain
