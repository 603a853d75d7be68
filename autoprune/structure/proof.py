"""Proof by execution: a cut is right when the sliced model computes what the zeroed model computes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.errors import ModelError
from autoprune.structure.groups import ATTENTION_KINDS, Group, Structure
from autoprune.structure.noise import add_noise
from autoprune.structure.numbers import Number, Reading, likeliest, readings, reread
from autoprune.structure.plan import Plan
from autoprune.structure.sharing import described
from autoprune.structure.site import fault_module, first_line
from autoprune.structure.substitute import Make, Substitute
from autoprune.structure.surgery import Kept, apply, kept_positions, removed_blocks, removed_positions
from autoprune.structure.trace import canonical_names, ready
from autoprune.structure.values import ExampleInputs, as_call, tensors_in

TOLERANCE = 1e-9
"""Largest difference, relative to the largest output, in float64."""
ROUGH_TOLERANCE = 1e-5
"""The same in float32."""
MOST_ELEMENTS, MOST_IN_ONE_TENSOR = 100_000_000, 16_000_000
"""Larger models are compared in float32 first, which takes half the memory and a third of the time."""

_NOT_RUNNING = (RuntimeError, ValueError, IndexError, KeyError, AssertionError, TypeError, AttributeError)


class CutError(Exception):
    """A cut that is wrong; `module` is the path of the module in which it came out, or empty."""

    def __init__(self, text: str, module: str = "") -> None:
        super().__init__(text)
        self.module = module


def prove(
    model: nn.Module, structure: Structure, example_inputs: ExampleInputs, *, training: bool = False
) -> Structure:
    """The structure with every group that does not cut cleanly moved to the frozen ones.

    All groups are cut at once; only when that fails are they halved until those at fault are found.
    The weights used are the model's own with some noise, so that no zero hides a wrong cut.

    Args:
        model: the uncut model.
        structure: what is to be proved.
        example_inputs: what the models are run on.
        training: run them in training mode, with BatchNorm and dropout left in evaluation mode.

    Raises:
        ModelError: when the uncut model itself does not run.
    """
    if not structure.groups:
        return structure
    possible = readings(model, structure)
    structure = replace(structure, numbers=likeliest(possible))
    bench = ready(model, training=training)
    faults = find_faults(bench, structure, structure.groups, example_inputs)
    structure, faults = _read_again(bench, structure, possible, faults, example_inputs)
    if len(faults) == len(structure.groups):
        _require_runs(bench, example_inputs)
    return structure.without(faults)


def _read_again(
    model: nn.Module,
    structure: Structure,
    possible: Mapping[Number, Sequence[Reading]],
    faults: dict[str, str],
    example_inputs: ExampleInputs,
) -> tuple[Structure, dict[str, str]]:
    """The structure with other readings of the attributes that groups at fault need, and the faults left."""
    before = structure.numbers
    attending = {group.name for group in structure.groups if group.kind in ATTENTION_KINDS}
    for heads, following in itertools.product((True, False), (True, False)):
        ill = [g for g in structure.groups if g.name in faults and (g.name in attending) == heads]
        numbers = reread(possible, structure.numbers, [g.name for g in ill], following=following)
        if not ill or numbers == before:
            continue
        left = find_faults(model, replace(structure, numbers=numbers), ill, example_inputs)
        cured = [g.name for g in ill if g.name not in left]
        numbers = reread(possible, structure.numbers, cured, following=following)
        structure = replace(structure, numbers=numbers)
        faults = {name: reason for name, reason in faults.items() if name not in cured}
    if structure.numbers != before:
        groups = [group for group in structure.groups if group.name not in faults]
        faults = faults | find_faults(model, structure, groups, example_inputs)
    return structure, faults


def half_plan(structure: Structure, groups: Sequence[Group], seed: int = 0) -> Plan:
    """Remove a random half of the units of each named group; blocks go whole."""
    generator = np.random.default_rng(seed)
    keep = {}
    for group in groups:
        kept = generator.permutation(group.width)[: max(group.least, group.width // 2)]
        keep[group.name] = tuple(sorted(int(unit) for unit in kept))
    return Plan.of(structure, keep)


def uneven_plan(structure: Structure, groups: Sequence[Group]) -> Plan:
    """Remove up to three quarters of the units of each named group, so that equal widths become unequal.

    Cut by the same share, two sizes that code takes for one another would stay equal by chance.
    """
    order = {group.name: position for position, group in enumerate(structure.groups)}
    generator = np.random.default_rng(0)
    keep = {}
    for group in groups:
        fewest = max(group.least, group.width // 4)
        choices = max(1, group.width - fewest)
        kept = fewest + order[group.name] * max(1, round(0.38 * choices)) % choices
        keep[group.name] = tuple(sorted(int(unit) for unit in generator.permutation(group.width)[:kept]))
    return Plan.of(structure, keep)


def difference(
    model: nn.Module,
    structure: Structure,
    plan: Plan,
    example_inputs: ExampleInputs,
    *,
    noise: bool = False,
    dtype: torch.dtype = torch.float64,
) -> float:
    """Largest difference between sliced and zeroed model, relative to the largest output.

    Both are run in `dtype`, whatever the type of the model. In the zeroed model, what reads a removed unit
    reads it by zero, and normalisations compute their statistics over the units that stay.

    Args:
        model: the uncut model, in the mode in which it is to run.
        structure: its structure.
        plan: the cut.
        example_inputs: a tensor, or positional or keyword arguments.
        noise: add noise to the parameters, and to the buffers that are cut.
        dtype: floating-point type of all operators.

    Raises:
        CutError: when the sliced model does not run.
    """
    model = described(model, structure)
    kept = kept_positions(plan, structure)
    pruned = apply(model, plan, structure, share=True)
    try:
        ours = _run(pruned, example_inputs, Substitute(_values(model, pruned, kept, noise, dtype), dtype))
    except _NOT_RUNNING as error:
        raise CutError(first_line(error), fault_module(error, pruned)) from error
    del pruned
    values = _values(model, model, kept, noise, dtype, zeros=_zeros(plan, structure))
    theirs = _run(model, example_inputs, Substitute(values, dtype, _kept_by_weight(model, kept)))
    worst = 0.0
    for mine, reference in zip(ours, theirs, strict=True):
        if mine.shape != reference.shape:
            return float("inf")
        if mine.numel() and mine.is_floating_point():
            scale = float(reference.abs().max()) or 1.0
            worst = max(worst, float((mine - reference).abs().nan_to_num(float("inf")).max()) / scale)
    return worst


def run_with_noise(model: nn.Module, example_inputs: ExampleInputs) -> None:
    """Run a model in float64 with noise in its parameters, for hooks that look on."""
    values = _values(model, model, {}, True, torch.float64)
    _run(model, example_inputs, Substitute(values, torch.float64))


def find_faults(
    model: nn.Module, structure: Structure, groups: Sequence[Group], example_inputs: ExampleInputs
) -> dict[str, str]:
    """Name of every group that cannot be cut -> why.

    The groups that the failing module reads or gives out are tried alone first; where it is none of them,
    the groups are halved until each fault stands alone.
    """
    fault = _fault(model, structure, groups, example_inputs)
    if fault is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: str(fault)}
    suspects = [group for group in groups if fault.module and _belongs(group, fault.module)]
    if 0 < len(suspects) <= len(groups) // 2:
        alone = [find_faults(model, structure, [suspect], example_inputs) for suspect in suspects]
        faults = {name: reason for found in alone for name, reason in found.items()}
        if faults:
            others = [group for group in groups if group.name not in faults]
            return faults | find_faults(model, structure, others, example_inputs)
    middle = len(groups) // 2
    halves = [
        find_faults(model, structure, half, example_inputs) for half in (groups[:middle], groups[middle:])
    ]
    return halves[0] | halves[1]


def _belongs(group: Group, module: str) -> bool:
    return any(f"{part.layer}.".startswith(f"{module}.") for part in group.slices)


def _fault(
    model: nn.Module, structure: Structure, groups: Sequence[Group], example_inputs: ExampleInputs
) -> CutError | None:
    plan = uneven_plan(structure, groups)
    try:
        for dtype, tolerance in _precisions(model):
            off = difference(model, structure, plan, example_inputs, noise=True, dtype=dtype)
            if off <= tolerance:
                return None
    except CutError as error:
        return CutError(f"a shape is baked into forward: {error}", error.module)
    exact = [group for group in groups if group.exact]
    if len(exact) < len(groups):
        # Normalisations of weights, and those without weights, count the removed units in the zeroed model.
        return _fault(model, structure, exact, example_inputs) if exact else None
    if all(group.contracted for group in groups):
        return CutError(
            "the sliced model computes something else: it may scale scores by the width of a head"
        )
    return CutError("the sliced model computes something else")


def _precisions(model: nn.Module) -> list[tuple[torch.dtype, float]]:
    sizes = [parameter.numel() for parameter in model.parameters()]
    double, single = (torch.float64, TOLERANCE), (torch.float32, ROUGH_TOLERANCE)
    if any(parameter.device.type == "mps" for parameter in model.parameters()):
        return [single]
    large = sum(sizes) > MOST_ELEMENTS or max(sizes, default=0) > MOST_IN_ONE_TENSOR
    return [single, double] if large else [double]


def _require_runs(model: nn.Module, example_inputs: ExampleInputs) -> None:
    try:
        _run(model, example_inputs, Substitute({}, torch.float64))
    except _NOT_RUNNING as error:
        raise ModelError(
            f"{type(model).__name__} does not run on the example inputs: {first_line(error)}"
        ) from error


def _run(model: nn.Module, example_inputs: ExampleInputs, substitute: Substitute) -> list[Tensor]:
    """The tensors that a model returns; random numbers are the same in every run."""
    args, kwargs = as_call(example_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), substitute:
        torch.manual_seed(0)
        return tensors_in(model(*args, **kwargs))


Zeros = dict[str, dict[int, Tensor]]
"""Parameter name -> axis -> positions by which removed units are read; no axis for all of the parameter."""


def _zeros(plan: Plan, structure: Structure) -> Zeros:
    contracted = {group.name for group in structure.groups if group.contracted}
    silent = Plan({name: units for name, units in plan.keep.items() if name in contracted})
    zeros: Zeros = {}
    for removed in (
        removed_positions(plan, structure, roles=("in",)),
        removed_positions(silent, structure, roles=("out", "pass")),
    ):
        for name, axes in removed.items():
            zeros.setdefault(name, {}).update({axis: torch.from_numpy(at) for axis, at in axes.items()})
    return zeros | {name: {} for block in removed_blocks(plan, structure) for name in block.ends}


def _values(
    model: nn.Module,
    runs: nn.Module,
    kept: Kept,
    noise: bool,
    dtype: torch.dtype,
    zeros: Zeros | None = None,
) -> dict[int, Make]:
    """What makes the value of each tensor of the model that runs: the sliced one, or the uncut one."""
    canonical = canonical_names(model)
    uncut = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values: dict[int, Make] = {}
    for listing in (runs.named_parameters, runs.named_buffers):
        for alias, tensor in listing(remove_duplicate=False):
            name = canonical.get(alias)
            if name is None or not tensor.is_floating_point():
                continue
            axes = kept.get(name, {}) if runs is not model else {}
            noisy = noise and (isinstance(tensor, nn.Parameter) or name in kept)
            whole = uncut[name] if noisy else None
            made_zero = zeros.get(name) if zeros is not None else None
            values[id(tensor)] = partial(_value, tensor, dtype, name, whole, axes, made_zero)
    return values


def _value(
    tensor: Tensor,
    dtype: torch.dtype,
    name: str,
    whole: Tensor | None,
    kept: dict[int, np.ndarray[Any, np.dtype[np.int64]]],
    zeros: dict[int, Tensor] | None,
) -> Tensor:
    """The tensor in another type, with the noise of the `whole` that it is of, and with its zeros."""
    value = tensor.detach().to(dtype, copy=True)
    if whole is not None:
        add_noise(value, name, whole, kept, positive=not isinstance(tensor, nn.Parameter))
    if zeros is not None:
        for axis, positions in zeros.items():
            value.index_fill_(axis, positions.to(value.device), 0.0)
        if not zeros:
            value.zero_()
    return value


def _kept_by_weight(model: nn.Module, kept: Kept) -> dict[int, Tensor]:
    """Vectors that are cut, by identity: normalisations know their units by them."""
    return {
        id(parameter): torch.from_numpy(kept[name][0]).to(parameter.device)
        for name, parameter in model.named_parameters()
        if parameter.dim() == 1 and name in kept
    }
