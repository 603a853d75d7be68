"""Proof by execution: a cut is right when the sliced model computes what the zeroed model computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from autoprune.structure.groups import Group, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery import apply, removed_positions
from autoprune.structure.trace import ExampleInputs, as_args

TOLERANCE = 1e-9
"""Largest difference, relative to the largest output, in float64."""


def prove(model: nn.Module, structure: Structure, example_inputs: ExampleInputs) -> Structure:
    """The structure with every group that does not cut cleanly moved to the frozen ones.

    All groups are cut at once; only when that fails are they halved until those at fault are found.
    The weights used are the model's own with a little noise, so that no zero hides a wrong cut.
    """
    if not structure.groups:
        return structure
    double = _perturbed(model)
    args = tuple(_to_double(argument) for argument in as_args(example_inputs))
    faults = _faults(double, structure, structure.groups, args)
    return structure.without(faults)


def zeroed(model: nn.Module, plan: Plan, structure: Structure) -> dict[str, Tensor]:
    """The parameters of the full model that read a removed unit, with what they read it by set to zero."""
    parameters = dict(model.named_parameters())
    state = {}
    for name, axes in removed_positions(plan, structure, roles=("in",)).items():
        state[name] = parameters[name].detach().clone()
        for axis, positions in axes.items():
            state[name].index_fill_(axis, torch.from_numpy(positions).to(state[name].device), 0.0)
    return state


def half_plan(structure: Structure, groups: Sequence[Group], seed: int = 0) -> Plan:
    """Remove a random half of the units of each named group."""
    generator = np.random.default_rng(seed)
    keep = {}
    for group in groups:
        kept = generator.permutation(group.width)[: max(1, group.width // 2)]
        keep[group.name] = tuple(sorted(int(unit) for unit in kept))
    return Plan(keep)


def difference(model: nn.Module, structure: Structure, plan: Plan, args: tuple[Any, ...]) -> float:
    """Largest difference between sliced and zeroed model, relative to the largest output."""
    with torch.no_grad():
        sliced = _tensors(apply(model, plan, structure, share=True)(*args))
        reference = _tensors(functional_call(model, zeroed(model, plan, structure), args))
    worst = 0.0
    for ours, theirs in zip(sliced, reference, strict=True):
        if ours.shape != theirs.shape:
            return float("inf")
        if ours.numel() and ours.is_floating_point():
            scale = float(theirs.abs().max()) or 1.0
            worst = max(worst, float((ours - theirs).abs().nan_to_num(float("inf")).max()) / scale)
    return worst


def _faults(
    model: nn.Module, structure: Structure, groups: Sequence[Group], args: tuple[Any, ...]
) -> dict[str, str]:
    reason = _fault(model, structure, groups, args)
    if reason is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: reason}
    middle = len(groups) // 2
    faults = [_faults(model, structure, half, args) for half in (groups[:middle], groups[middle:])]
    return {**faults[0], **faults[1]}


def _fault(
    model: nn.Module, structure: Structure, groups: Sequence[Group], args: tuple[Any, ...]
) -> str | None:
    plan = half_plan(structure, groups)
    exact = all(group.exact for group in groups)
    try:
        if exact:
            off = difference(model, structure, plan, args)
            return None if off <= TOLERANCE else "the sliced model computes something else"
        with torch.no_grad():
            apply(model, plan, structure, share=True)(*args)
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        line = str(error).strip().splitlines()
        return f"a shape is baked into forward: {line[0] if line else type(error).__name__}"
    return None


def _perturbed(model: nn.Module) -> nn.Module:
    double = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in double.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            spread = parameter.std() if parameter.numel() > 1 else parameter.new_tensor(0.0)
            parameter.add_((0.1 * spread + 0.01) * noise.to(parameter.device))
    return double


def _to_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []
