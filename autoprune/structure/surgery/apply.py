"""Surgery: the same model with smaller tensors."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.structure.groups import ROLES, Block, Role, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery.bypass import take_out
from autoprune.structure.surgery.module_sizes import follow
from autoprune.structure.surgery.size_attributes import set_numbers
from autoprune.structure.surgery.untie import described
from autoprune.structure.wrappers import unwrapped
from autoprune.utils.arguments import check_type

Kept = dict[str, dict[int, NDArray[np.int64]]]
"""Tensor name -> axis -> positions that stay."""


def apply(model: nn.Module, plan: Plan, structure: Structure, *, share: bool = False) -> nn.Module:
    """A new model without the units that the plan removes; the given one is left as it was.

    Args:
        model: the original model that was given to :func:`discover`, or the untied copy of it.
        plan: the units that stay.
        structure: result of :func:`discover` for this model.
        share: let the tensors that are not cut be the given model's own, which saves their memory.

    Raises:
        ArgumentError: for an argument of another type.
        PlanError: when the plan does not fit, removes nothing or empties a group.
    """
    check_type("model", model, nn.Module, "a torch.nn.Module")
    check_type("plan", plan, Plan, "an autoprune.Plan, such as Plan.from_json(text) reads")
    check_type("structure", structure, Structure, "what autoprune.discover returned")
    plan.check(structure)
    model = described(unwrapped(model), structure)
    blocks = removed_blocks(plan, structure)
    gone = {name for block in blocks for name in block.tensors}
    kept = {name: axes for name, axes in kept_positions(plan, structure).items() if name not in gone}
    pruned = _cut(take_out(model, blocks) if blocks else model, kept, share)
    set_numbers(pruned, structure, plan.widths(structure))
    return pruned


def removed_blocks(plan: Plan, structure: Structure) -> list[Block]:
    """The blocks that the plan takes out whole."""
    return [g.block for g in structure.groups if g.block is not None and not plan.keep.get(g.name, (0,))]


def kept_positions(plan: Plan, structure: Structure) -> Kept:
    """Positions that stay on every axis of every tensor that the plan makes smaller."""
    kept: Kept = {}
    for name, axes in removed_positions(plan, structure).items():
        kept[name] = {
            axis: np.setdiff1d(np.arange(_length(structure, name, axis)), gone) for axis, gone in axes.items()
        }
    return kept


def removed_positions(
    plan: Plan, structure: Structure, roles: tuple[Role, ...] = ROLES
) -> dict[str, dict[int, NDArray[np.int64]]]:
    """Positions that go, by tensor name and axis, in the given roles only."""
    removed: dict[str, dict[int, list[NDArray[np.int64]]]] = defaultdict(lambda: defaultdict(list))
    for group in structure.groups:
        units = plan.keep.get(group.name)
        if units is None or len(units) == group.width:
            continue
        gone = np.setdiff1d(np.arange(group.width), np.asarray(units, dtype=np.int64))
        for part in group.slices:
            if part.role in roles:
                removed[part.parameter][part.axis].append(part.index[gone].reshape(-1))
    return {
        name: {axis: np.unique(np.concatenate(lists)) for axis, lists in axes.items()}
        for name, axes in removed.items()
    }


def _cut(model: nn.Module, kept: Kept, share: bool) -> nn.Module:
    """Copy the model with each named tensor reduced to the kept positions."""
    tensors: Mapping[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    # A deep copy asks its memo first: what is entered there is taken instead of being copied.
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors.values()} if share else {}
    for name, axes in kept.items():
        tensor = tensors[name]
        smaller = tensor.detach()
        for axis, positions in axes.items():
            smaller = smaller.index_select(axis, torch.from_numpy(positions).to(tensor.device))
        smaller = smaller.contiguous()
        if isinstance(tensor, nn.Parameter):
            memo[id(tensor)] = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
        else:
            memo[id(tensor)] = smaller
    pruned = copy.deepcopy(model, memo)
    follow(model, pruned)
    return pruned


def _length(structure: Structure, name: str, axis: int) -> int:
    return structure.tensors[name][axis].at(structure.widths)
