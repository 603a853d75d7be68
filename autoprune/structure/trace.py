"""The model as a flat graph of ATen operators, with parameters and buffers under their own names."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from autoprune.errors import ModelError

ExampleInputs = Tensor | tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """An exported graph and the meaning of its placeholders.

    Attributes:
        graph: ATen operators, not decomposed, in the order of the forward pass.
        state: placeholder name -> canonical state-dict name (aliases of one tensor share a name).
        inputs: placeholder names of the caller's inputs.
        constants: placeholder names of tensors that belong to no module.
        shapes: canonical state-dict name -> shape of the uncut tensor.
        parameters: which of ``shapes`` are parameters.
    """

    graph: torch.fx.Graph
    state: Mapping[str, str]
    inputs: frozenset[str]
    constants: frozenset[str]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]


def as_args(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """Positional arguments of ``forward``; a single tensor counts as one argument."""
    return example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)


def shell(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares every tensor: flags can be set without touching the original."""
    tensors = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({_first_line(error)}): "
            "keep tensors that are not leaves out of its attributes"
        ) from error


def trace(model: nn.Module, example_inputs: ExampleInputs) -> Trace:
    """Export `model` in evaluation mode.

    Raises:
        ModelError: when the model does not run on the inputs, or ``torch.export`` cannot follow it.
    """
    if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        raise ModelError("the model has lazy layers that never ran: call it once on real input first")
    module, args = shell(model).eval(), as_args(example_inputs)
    try:
        with torch.no_grad():
            module(*args)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} does not run on inputs of shape {_shapes(args)}: {_first_line(error)}"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, args, strict=False)
    except Exception as error:
        raise ModelError(
            f"torch.export cannot follow {type(model).__name__}: {_first_line(error)}; "
            "rewrite that line without control flow that depends on values"
        ) from error
    canonical = _canonical_names(model)
    state, inputs, constants = {}, set(), set()
    for spec in program.graph_signature.input_specs:
        name = getattr(spec.arg, "name", "")
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in canonical:
            state[name] = canonical[spec.target]
        elif spec.kind is InputKind.USER_INPUT:
            inputs.add(name)
        else:
            constants.add(name)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return Trace(
        graph=program.graph,
        state=state,
        inputs=frozenset(inputs),
        constants=frozenset(constants),
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        parameters=frozenset(dict(model.named_parameters())),
    )


def _canonical_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer -> the first name of the same tensor."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for listing in (model.named_parameters, model.named_buffers):
        for name, tensor in listing(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names


def _shapes(args: tuple[Any, ...]) -> str:
    return ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in args)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
