"""Residual blocks: modules that hand their input on unchanged when their branches are silent.

The traced graph shows which modules may be such blocks, and which parameters silence their branches;
running them decides. That whole residual blocks can be left out of a trained network is due to Veit et
al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks" (2016).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from autoprune.structure.branches import calls_by_module, residual
from autoprune.structure.graph.trace import Trace, canonical_names, ready
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.groups import Block, Group, Structure
from autoprune.structure.propagation.propagate import Propagation
from autoprune.structure.verification.precision import in_type
from autoprune.structure.verification.substitute import Substitute
from autoprune.structure.verification.verify import Bench, find_faults, run_with_noise

CHANGED = "a block that changes what enters it even where its branches are silent"


@dataclass(frozen=True, eq=False)
class BlockCandidate:
    """A module that looks like a residual block.

    Attributes:
        module: its path, the first one where it has several.
        nodes: the operators that its calls run.
        additions: those of them that add a branch.
        ends: the parameters that silence its branches when they are zero.
        tensors: the state-dict names that go with it.
    """

    module: str
    nodes: frozenset[fx.Node]
    additions: frozenset[fx.Node]
    ends: tuple[str, ...]
    tensors: frozenset[str]


def with_blocks(
    model: nn.Module, structure: Structure, propagation: Propagation, example_inputs: ExampleInputs
) -> Structure:
    """The structure with a group for every residual block that can be taken out.

    What looks like a block and is none is frozen with the reason.

    Args:
        model: the original model.
        structure: its other groups.
        propagation: what they were assembled from.
        example_inputs: as for :func:`autoprune.discover`.
    """
    candidates = outermost(find(model, propagation.trace))
    if not candidates:
        return structure
    bench = Bench.usable(ready(model), example_inputs)
    trunks = _trunks(bench, candidates)
    groups, block_of = [], dict.fromkeys(propagation.operators, "")
    frozen = dict(structure.frozen)
    for candidate in candidates:
        name = candidate.module if candidate.module not in structure.widths else f"{candidate.module}#block"
        if candidate.module not in trunks:
            frozen.setdefault(name, CHANGED)
            continue
        block = Block(candidate.module, *trunks[candidate.module], candidate.ends, candidate.tensors)
        groups.append(Group(name, "block", 1, (), block=block))
        block_of |= dict.fromkeys(candidate.nodes, name)
    operations = zip(structure.operations, propagation.operators, strict=True)
    extended = replace(
        structure,
        groups=(*structure.groups, *groups),
        frozen=frozen,
        operations=tuple(replace(operation, block=block_of[node]) for operation, node in operations),
    )
    faults: dict[str, str] = {}
    # A block that stays may write into what one before it, taken out, no longer copied.
    for part in (groups, groups[::2], groups[1::2]):
        untested = [group for group in part if group.name not in faults]
        faults |= find_faults(bench, extended, untested) if untested else {}
    return extended.without(faults)


def find(model: nn.Module, trace: Trace) -> list[BlockCandidate]:
    """Every module all of whose calls look like input plus branches, in the order of their first call."""
    first = _first_paths(model)
    aliases = _aliases(model)
    candidates = []
    for module, calls in calls_by_module(trace.graph, first).items():
        own = tuple(f"{path}." for path, name in first.items() if name == module)
        tensors = frozenset(
            name for name in trace.shapes if all(alias.startswith(own) for alias in aliases[name])
        )
        parameters = {node: name for node, name in trace.state.items() if name in tensors & trace.parameters}
        residuals = [residual(nodes, parameters) for nodes in calls]
        found = [part for part in residuals if part is not None]
        if len(found) == len(calls):
            candidates.append(
                BlockCandidate(
                    module,
                    frozenset[fx.Node]().union(*calls),
                    frozenset(node for part in found for node in part.additions),
                    tuple(dict.fromkeys(end for part in found for end in part.ends)),
                    tensors,
                )
            )
    return candidates


def outermost(candidates: Sequence[BlockCandidate]) -> list[BlockCandidate]:
    """The candidates that people call blocks.

    A module that only runs blocks one after the other is a stage; so is one that adds its input to what
    several blocks make of it. A block within a block goes with it. What only holds a block is none.
    """
    chosen: list[BlockCandidate] = []
    innermost = {candidate.nodes: candidate for candidate in sorted(candidates, key=_nesting)}
    for candidate in sorted(innermost.values(), key=lambda c: len(c.nodes)):
        inside = [other for other in chosen if other.nodes < candidate.nodes]
        smaller = [other for other in candidates if other.nodes < candidate.nodes]
        own = candidate.additions.difference(*(other.nodes for other in smaller))
        if own and len(inside) < 2:
            chosen = [other for other in chosen if other not in inside] + [candidate]
    return [candidate for candidate in candidates if candidate in chosen]


def _nesting(candidate: BlockCandidate) -> int:
    return candidate.module.count(".")


def _trunks(bench: Bench, candidates: Collection[BlockCandidate]) -> dict[str, tuple[str, int]]:
    """Module path -> name and position of the argument that comes out unchanged when the ends are zero.

    Every call of a candidate during one run of the model is made a second time with the ends zeroed.
    Left out are modules that give something else than one of their arguments.
    """
    seen: dict[str, set[tuple[str, int] | None]] = {}
    busy = False
    precision = bench.precisions[-1]

    def watch(candidate: BlockCandidate, module: nn.Module) -> Any:
        ends = [module.get_parameter(name.removeprefix(f"{candidate.module}.")) for name in candidate.ends]
        zeros = {id(end): partial(_zeros, end, precision.dtype) for end in ends}

        def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            nonlocal busy
            if busy:
                return
            busy = True
            copies = tuple(_copy(value) for value in given), {k: _copy(v) for k, v in named.items()}
            try:
                with Substitute(zeros, precision.dtype):
                    output = module(*copies[0], **copies[1])
                trunk = _unchanged(module, output, given, named, precision.tolerance)
            except Exception:  # with zeros in it, the user's code may do anything
                trunk = None
            finally:
                busy = False
            seen.setdefault(candidate.module, set()).add(trunk)

        return module.register_forward_pre_hook(before, with_kwargs=True)

    handles = [watch(candidate, bench.model.get_submodule(candidate.module)) for candidate in candidates]
    try:
        run_with_noise(bench.model, bench.example_inputs, precision.dtype)
    finally:
        for handle in handles:
            handle.remove()
    found = {module: next(iter(trunks)) for module, trunks in seen.items() if len(trunks) == 1}
    return {module: trunk for module, trunk in found.items() if trunk is not None}


def _unchanged(
    module: nn.Module, output: Any, given: tuple[Any, ...], named: dict[str, Any], tolerance: float
) -> tuple[str, int] | None:
    """Name and position of the argument that a call gave back; None where there is none."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [""] * (len(given) - len(names))
    for position, value in enumerate(given):
        if _equal(output, value, tolerance):
            return names[position], position
    for name, value in named.items():
        if _equal(output, value, tolerance):
            return name, names.index(name) if name in names else -1
    return None


def _equal(output: Any, value: Any, tolerance: float) -> bool:
    if not isinstance(output, Tensor) or not isinstance(value, Tensor) or output.shape != value.shape:
        return False
    scale = float(value.abs().max()) or 1.0
    return float((output - value).abs().nan_to_num(float("inf")).max()) <= tolerance * scale


def _zeros(end: Tensor, dtype: torch.dtype | None) -> Tensor:
    return torch.zeros_like(end, dtype=end.dtype if dtype is None else in_type(end.dtype, dtype))


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _first_paths(model: nn.Module) -> dict[str, str]:
    """Every path of a module -> the first path of the same module."""
    first: dict[int, str] = {}
    modules = model.named_modules(remove_duplicate=False)
    return {path: first.setdefault(id(module), path) for path, module in modules}


def _aliases(model: nn.Module) -> dict[str, list[str]]:
    """State-dict name of a parameter or buffer -> all its names."""
    aliases: dict[str, list[str]] = {}
    for alias, name in canonical_names(model).items():
        aliases.setdefault(name, []).append(alias)
    return aliases
