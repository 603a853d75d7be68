"""Proof by execution: a cut is right when the sliced model computes what the zeroed model computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.errors import ModelError
from autoprune.structure.graph.error_site import fault_module, fault_site, first_line, kind_and_line
from autoprune.structure.graph.trace import canonical_names
from autoprune.structure.graph.values import ExampleInputs, as_call, tensors_in
from autoprune.structure.groups import Group, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery.apply import Kept, apply, kept_positions, removed_blocks, removed_positions
from autoprune.structure.surgery.untie import described
from autoprune.structure.verification.noise import add_noise
from autoprune.structure.verification.precision import DOUBLE, ComparisonPrecision, in_type, is_number
from autoprune.structure.verification.reference import Reference
from autoprune.structure.verification.substitute import Make, Substitute


class CutError(Exception):
    """A cut that is wrong; `module` is the path of the module in which it came out, or empty."""

    def __init__(self, text: str, module: str = "") -> None:
        super().__init__(text)
        self.module = module


@dataclass(frozen=True, eq=False)
class Bench:
    """What cuts are tried on.

    Attributes:
        model: the original, in the mode in which it is to run.
        example_inputs: what models are run on.
        precisions: in what they are compared, the last one decides.
        reference: runs the original with removed units left out of statistics; None where it has none.
    """

    model: nn.Module
    example_inputs: ExampleInputs
    precisions: tuple[ComparisonPrecision, ...] = (DOUBLE,)
    reference: Reference | None = None

    @property
    def references(self) -> tuple[Reference, ...]:
        """The graph by its numbers as they stand, and with those that may be widths."""
        return (self.reference, replace(self.reference, sizes_follow=True)) if self.reference else ()

    @classmethod
    def usable(cls, model: nn.Module, example_inputs: ExampleInputs) -> Bench:
        """In float64, or where that does not run, in the model's own precision. Raises ModelError."""
        bench = cls(model, example_inputs)
        return bench if bench.runs(DOUBLE) else replace(bench, precisions=(own_precision(bench),))

    def runs(self, precision: ComparisonPrecision) -> bool:
        """Whether the original runs in it."""
        try:
            run_with_noise(self.model, self.example_inputs, precision.dtype)
        except Exception:
            return False
        return True


def own_precision(bench: Bench) -> ComparisonPrecision:
    """The model's own precision. Raises ModelError when the original does not run in it."""
    try:
        return ComparisonPrecision(None, run_with_noise(bench.model, bench.example_inputs, None))
    except Exception as error:
        raise ModelError(
            f"{type(bench.model).__name__} does not run on the example inputs with a little noise in its "
            f"weights{fault_site(error, bench.model)}: {first_line(error)}"
        ) from error


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
    dtype: torch.dtype | None = torch.float64,
    reference: Reference | None = None,
) -> float:
    """Largest difference between sliced and zeroed model, relative to the largest output.

    Both are run in `dtype`, whatever the type of the model. In the zeroed model, what reads a removed unit
    reads it by zero, and normalisations compute their statistics over the units that stay.

    Args:
        model: the original model, in the mode in which it is to run.
        structure: its structure.
        plan: the cut.
        example_inputs: a tensor, or positional or keyword arguments.
        noise: add noise to the parameters, and to the buffers that are cut.
        dtype: floating-point type of all operators; None leaves every tensor in its own.
        reference: run in place of the zeroed model.

    Raises:
        CutError: when the sliced model cannot be made or does not run, or the zeroed one does not.
    """
    model = described(model, structure)
    kept = kept_positions(plan, structure)
    try:
        pruned = apply(model, plan, structure, share=True)
    except Exception as error:
        raise CutError(f"it cannot be cut: {kind_and_line(error)}") from error
    try:
        ours = _run(pruned, example_inputs, Substitute(_values(model, pruned, kept, noise, dtype), dtype))
    except Exception as error:  # anything may happen in the user's forward
        cause = f"a shape is baked into forward: {first_line(error)}"
        raise CutError(cause, fault_module(error, pruned)) from error
    del pruned
    by_weight = _kept_by_weight(model, kept)
    try:
        for zeros in (_zeros(plan, structure), _zeros(plan, structure, gains=True)):
            values = _values(model, model, kept, noise, dtype, zeros=zeros)
            if reference is None:
                theirs = _run(model, example_inputs, Substitute(values, dtype, by_weight))
            else:
                tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
                removed = removed_positions(plan, structure)
                theirs = reference.run(tensors, values, example_inputs, removed, dtype)
            if not _any_nan(theirs) or _any_nan(ours):
                break
    except Exception as error:
        cause = f"it does not run with zeros in place of removed units: {kind_and_line(error)}"
        raise CutError(cause, fault_module(error, model)) from error
    if len(ours) != len(theirs):
        return float("inf")
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].numel() or pair[1].numel()]
    # Integers follow from numbers, by rounding and comparing; they count where there is nothing else.
    numbers = [pair for pair in pairs if is_number(pair[0])] or pairs
    if any(mine.shape != reference.shape for mine, reference in pairs):
        return float("inf")
    return max((_apart(mine, reference) for mine, reference in numbers), default=0.0)


def _apart(mine: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the largest finite number of the reference; infinite for NaN."""
    if not is_number(reference):
        return 0.0 if torch.equal(mine, reference) else float("inf")
    mine, reference = (tensor if tensor.itemsize > 1 else tensor.float() for tensor in (mine, reference))
    finite = reference[reference.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    apart = (mine - reference).abs().masked_fill(mine == reference, 0.0)
    return float(apart.nan_to_num(float("inf")).max()) / (scale or 1.0)


def run_with_noise(
    model: nn.Module, example_inputs: ExampleInputs, dtype: torch.dtype | None = torch.float64
) -> torch.dtype:
    """Run a model with noise in its parameters. Returns the coarsest type that it computes in."""
    substitute = Substitute(_values(model, model, {}, True, dtype), dtype)
    _run(model, example_inputs, substitute)
    return substitute.coarsest


def find_faults(bench: Bench, structure: Structure, groups: Sequence[Group]) -> dict[str, str]:
    """Name of every group that cannot be cut -> why.

    The groups that the failing module reads or gives out are tried alone first; where it is none of them,
    the groups are halved until each fault stands alone.
    """
    fault = find_fault(bench, structure, groups)
    if fault is None:
        return {}
    if len(groups) == 1:
        return {groups[0].name: str(fault)}
    suspects = [group for group in groups if fault.module and _belongs(group, fault.module)]
    if 0 < len(suspects) <= len(groups) // 2:
        alone = [find_faults(bench, structure, [suspect]) for suspect in suspects]
        faults = {name: reason for found in alone for name, reason in found.items()}
        if faults:
            others = [group for group in groups if group.name not in faults]
            return faults | find_faults(bench, structure, others)
    middle = len(groups) // 2
    halves = [find_faults(bench, structure, half) for half in (groups[:middle], groups[middle:])]
    return halves[0] | halves[1]


def _belongs(group: Group, module: str) -> bool:
    return any(f"{part.layer}.".startswith(f"{module}.") for part in group.slices)


def find_fault(bench: Bench, structure: Structure, groups: Sequence[Group]) -> CutError | None:
    """Cut these groups at once: what is wrong with that, or None."""
    plan = uneven_plan(structure, groups)
    model, inputs, off = bench.model, bench.example_inputs, 0.0
    inexact = not all(group.exact for group in groups)
    try:
        for precision in bench.precisions:
            for reference in (None, *(bench.references if inexact else ())):
                off = difference(
                    model, structure, plan, inputs, noise=True, dtype=precision.dtype, reference=reference
                )
                if off <= precision.tolerance:
                    return None
    except CutError as error:
        return error
    exact = [group for group in groups if group.exact]
    if inexact and (bench.reference is None or bench.reference.counts_removed_weights):
        # Normalisations of weights count the removed units in the zeroed model.
        return find_fault(bench, structure, exact) if exact else None
    deciding = bench.precisions[-1]
    cause = "the sliced model computes something else"
    if deciding.dtype is None:
        cause += f" (in {deciding}: off by {off:.1e} of the largest output, {deciding.tolerance} allowed)"
    if all(group.contracted for group in groups):
        return CutError(f"{cause}: it may scale scores by the width of a head")
    return CutError(cause)


def _run(model: nn.Module, example_inputs: ExampleInputs, substitute: Substitute) -> list[Tensor]:
    """The tensors that a model returns; random numbers are the same in every run."""
    args, kwargs = as_call(example_inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), substitute:
        torch.manual_seed(0)
        return tensors_in(model(*args, **kwargs))


Zeros = dict[str, dict[int, Tensor]]
"""Parameter name -> axis -> positions by which removed units are read; no axis for all of the parameter."""


def _zeros(plan: Plan, structure: Structure, *, gains: bool = False) -> Zeros:
    """Where the original reads removed units by zero.

    With `gains`, a layer whose weight is normalised row by row reads them by a gain of zero: a row of zeros
    has no direction.
    """
    if gains:
        structure = replace(structure, groups=tuple(map(_read_by_gains, structure.groups)))
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


def _read_by_gains(group: Group) -> Group:
    """The group with the gains of the layers that read it in the place of their weights."""
    reading = {part.layer for part in group.slices if part.role == "in"}
    gained = {part.layer for part in group.slices if part.role == "pass" and part.layer in reading}
    slices = tuple(
        replace(part, role="in") if part.role == "pass" and part.layer in gained else part
        for part in group.slices
        if part.role != "in" or part.layer not in gained
    )
    return replace(group, slices=slices)


def _any_nan(tensors: Sequence[Tensor]) -> bool:
    return any(bool(tensor.isnan().any()) for tensor in tensors if is_number(tensor))


def _values(
    model: nn.Module,
    runs: nn.Module,
    kept: Kept,
    noise: bool,
    dtype: torch.dtype | None,
    zeros: Zeros | None = None,
) -> dict[int, Make]:
    """What makes the value of each tensor of the model that runs: the sliced one, or the original."""
    canonical = canonical_names(model)
    original = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    values: dict[int, Make] = {}
    for listing in (runs.named_parameters, runs.named_buffers):
        for alias, tensor in listing(remove_duplicate=False):
            name = canonical.get(alias)
            if name is None or not is_number(tensor):
                continue
            axes = kept.get(name, {}) if runs is not model else {}
            noisy = noise and (isinstance(tensor, nn.Parameter) or name in kept)
            whole = original[name] if noisy else None
            made_zero = zeros.get(name) if zeros is not None else None
            values[id(tensor)] = partial(_value, tensor, dtype, name, whole, axes, made_zero)
    return values


def _value(
    tensor: Tensor,
    dtype: torch.dtype | None,
    name: str,
    whole: Tensor | None,
    kept: dict[int, np.ndarray[Any, np.dtype[np.int64]]],
    zeros: dict[int, Tensor] | None,
) -> Tensor:
    """The tensor in another type, with the noise of the `whole` that it is of, and with its zeros."""
    wanted = tensor.dtype if dtype is None else in_type(tensor.dtype, dtype)
    # Nothing can be computed in types of eight bits.
    value = tensor.detach().to(wanted if wanted.itemsize > 1 else torch.float32, copy=True)
    if whole is not None:
        add_noise(value, name, whole, kept, positive=not isinstance(tensor, nn.Parameter))
    if zeros is not None:
        for axis, positions in zeros.items():
            value.index_fill_(axis, positions.to(value.device), 0.0)
        if not zeros:
            value.zero_()
    return value.to(wanted)


def _kept_by_weight(model: nn.Module, kept: Kept) -> dict[int, Tensor]:
    """Vectors that are cut, by identity: normalisations know their units by them."""
    return {
        id(parameter): torch.from_numpy(kept[name][0]).to(parameter.device)
        for name, parameter in model.named_parameters()
        if parameter.dim() == 1 and name in kept
    }
