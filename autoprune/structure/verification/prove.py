"""The proof of a structure: which groups cut cleanly, and which of the model's numbers follow them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from autoprune.structure.graph.trace import ready
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.groups import ATTENTION_KINDS, Group, Structure
from autoprune.structure.surgery.hidden_sizes import candidates, sizes_of_own_tensors, sizes_without_tensors
from autoprune.structure.surgery.size_attributes import Number, Reading, follows, likeliest, readings, reread
from autoprune.structure.verification.precision import precisions_for
from autoprune.structure.verification.reference import Reference
from autoprune.structure.verification.verify import Bench, find_fault, find_faults, own_precision

MOST_ALONE = 8
"""Hidden sizes that are tried one by one, at most."""


def prove(
    model: nn.Module,
    structure: Structure,
    example_inputs: ExampleInputs,
    *,
    training: bool = False,
    reference: Reference | None = None,
) -> Structure:
    """The structure with every group that does not cut cleanly moved to the frozen ones.

    All groups are cut at once; only when that fails are they halved until those at fault are found.
    The weights used are the model's own with some noise, so that no zero hides a wrong cut.

    Args:
        model: the original model.
        structure: what is to be proved.
        example_inputs: what the models are run on.
        training: run them in training mode, with BatchNorm and dropout left in evaluation mode.
        reference: the graph in that mode, for cuts that change statistics over units.

    Raises:
        ModelError: when the original model itself does not run.
    """
    if not structure.groups:
        return structure
    possible = {
        **sizes_without_tensors(model, structure),
        **sizes_of_own_tensors(model, structure),
        **readings(model, structure),
    }
    structure = replace(structure, numbers=likeliest(possible))
    bench = Bench(ready(model, training=training), example_inputs, precisions_for(model), reference)
    faults = find_faults(bench, structure, structure.groups)
    if faults and not all(bench.runs(precision) for precision in bench.precisions):
        # A type that some operator lacks is no fault of a cut.
        bench = replace(bench, precisions=(own_precision(bench),))
        faults = find_faults(bench, structure, structure.groups)
    structure, faults = _read_again(bench, structure, possible, faults)
    if faults:
        structure, faults = _read_hidden(bench, structure, candidates(model, structure, possible), faults)
    return structure.without(faults)


def _read_again(
    bench: Bench,
    structure: Structure,
    possible: Mapping[Number, Sequence[Reading]],
    faults: dict[str, str],
) -> tuple[Structure, dict[str, str]]:
    """The structure with other readings of the attributes that groups at fault need, and the faults left."""
    before = structure.numbers
    attending = {group.name for group in structure.groups if group.kind in ATTENTION_KINDS}
    for heads, following in itertools.product((True, False), (True, False)):
        ill = [g for g in structure.groups if g.name in faults and (g.name in attending) == heads]
        numbers = reread(possible, structure.numbers, [g.name for g in ill], following=following)
        if not ill or numbers == before:
            continue
        left = find_faults(bench, replace(structure, numbers=numbers), ill)
        cured = [g.name for g in ill if g.name not in left]
        numbers = reread(possible, structure.numbers, cured, following=following)
        structure = replace(structure, numbers=numbers)
        faults = {name: reason for name, reason in faults.items() if name not in cured}
    if structure.numbers != before:
        groups = [group for group in structure.groups if group.name not in faults]
        faults = faults | find_faults(bench, structure, groups)
    return structure, faults


def _read_hidden(
    bench: Bench,
    structure: Structure,
    hidden: Mapping[Number, Sequence[Reading]],
    faults: dict[str, str],
) -> tuple[Structure, dict[str, str]]:
    """The structure with those hidden sizes that groups at fault need, and the faults left.

    Those of the layers that are cut are tried first, then all that could follow the groups, then each alone:
    one that is equal by chance must not spoil the others.
    """
    before = structure.numbers
    could = [
        n for n, possible in hidden.items() if any(follows(reading, list(faults)) for reading in possible)
    ]
    layers = {part.layer for group in structure.groups if group.name in faults for part in group.slices}
    own = [number for number in could if number[0] in layers]
    several = [numbers for numbers in (own, could) if len(numbers) > 1]
    for numbers in [*several, *([number] for number in could[:MOST_ALONE])]:
        ill = [group for group in structure.groups if group.name in faults]
        tried = {number: hidden[number] for number in numbers}
        names = [group.name for group in ill]
        if not ill or not any(follows(r, names) for possible in tried.values() for r in possible):
            continue
        reading = replace(structure, numbers=reread(tried, structure.numbers, names, following=True))
        left = find_faults(bench, reading, ill)
        cured = [group for group in ill if group.name not in left]
        reading = replace(
            structure, numbers=reread(tried, structure.numbers, [g.name for g in cured], following=True)
        )
        structure = _needed(bench, structure, reading, cured)
        faults = {name: reason for name, reason in faults.items() if name in left}
    if structure.numbers != before:
        groups = [group for group in structure.groups if group.name not in faults]
        faults = faults | find_faults(bench, structure, groups)
    return structure, faults


def _needed(bench: Bench, before: Structure, after: Structure, groups: Sequence[Group]) -> Structure:
    """The structure `after`, with only those new numbers without which the groups cannot be cut."""
    new = [number for number in after.numbers if number not in before.numbers]
    for number in new if groups and len(new) > 1 else ():
        rest = {other: extent for other, extent in after.numbers.items() if other != number}
        without = replace(after, numbers=rest)
        if find_fault(bench, without, groups) is None:
            after = without
    return after
