"""The model as a flat graph of ATen operators, with parameters and buffers under their own names."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.nn.utils.rnn import PackedSequence

from autoprune.errors import ModelError
from autoprune.structure.admission import copying_remedy, require_prunable
from autoprune.structure.graph.error_site import fault_site, first_line
from autoprune.structure.graph.inlining import inline_contexts
from autoprune.structure.graph.values import ExampleInputs, as_call, shapes_of, tensors_in

_INERT = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
"""Layers of which the training mode changes statistics or is random, and ties nothing."""


@dataclass(frozen=True, eq=False)
class Trace:
    """An exported graph and the meaning of its placeholders.

    Attributes:
        graph: ATen operators, not decomposed, in the order of the forward pass.
        state: placeholder name -> canonical state-dict name (aliases of one tensor share a name).
        inputs: placeholder names of the caller's inputs.
        values: placeholder name -> tensor, of those that belong to no module or are not saved with it.
        shapes: canonical state-dict name -> shape of the original tensor.
        parameters: which of ``shapes`` are parameters.
        unread: which of ``parameters`` no operator reads.
    """

    graph: torch.fx.Graph
    state: Mapping[str, str]
    inputs: frozenset[str]
    values: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    unread: frozenset[str]

    @property
    def is_flat(self) -> bool:
        """Whether the graph calls no other graphs, so that it can be run node by node."""
        return all(node.op != "get_attr" for node in self.graph.nodes)


def shell(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares every tensor: flags can be set without touching the original."""
    tensors = [*model.parameters(), *model.buffers()]
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied: {copying_remedy(model) or first_line(error)}"
        ) from error


def ready(model: nn.Module, *, training: bool = False) -> nn.Module:
    """A shell in evaluation mode, or in training mode with BatchNorm and dropout left in evaluation mode.

    The training mode is there for parts that run in it alone, such as auxiliary heads.
    """
    copied = shell(model).train(training)
    for module in copied.modules():
        if isinstance(module, _INERT):
            module.eval()
    return copied


def trace(model: nn.Module, example_inputs: ExampleInputs, *, training: bool = False) -> Trace:
    """Export `model` in evaluation mode, or as :func:`ready` makes it for training.

    Raises:
        ModelError: when the model does not run on the inputs, or ``torch.export`` cannot follow it.
    """
    require_prunable(model)
    program = _export(ready(model, training=training), example_inputs)
    inline_contexts(program.graph_module)
    # What nobody reads ties nothing: the averaged weights of an attention, say.
    program.graph.eliminate_dead_code()
    canonical = canonical_names(model)
    state, values, inputs = {}, {}, set()
    for spec in program.graph_signature.input_specs:
        name = getattr(spec.arg, "name", "")
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in canonical:
            state[name] = canonical[spec.target]
        elif spec.kind is InputKind.USER_INPUT:
            inputs.add(name)
        else:
            value = program.constants.get(spec.target or "", program.state_dict.get(spec.target or ""))
            if isinstance(value, Tensor):
                values[name] = value
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parameters = frozenset(dict(model.named_parameters()))
    read = {state[node.name] for node in program.graph.nodes if node.name in state and node.users}
    return Trace(
        graph=program.graph,
        state=state,
        inputs=frozenset(inputs),
        values=values,
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        parameters=parameters,
        unread=parameters - read,
    )


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter or buffer -> the first name of the same tensor."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for listing in (model.named_parameters, model.named_buffers):
        for name, tensor in listing(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names


def _export(module: nn.Module, example_inputs: ExampleInputs) -> ExportedProgram:
    args, kwargs = as_call(example_inputs)
    kind = type(module).__name__
    forward = module.forward

    @functools.wraps(forward)
    def flat(*given: Any, **named: Any) -> list[Tensor]:
        return tensors_in(forward(*given, **named))

    # Whatever the model returns (a data class, say), the graph's outputs are its tensors.
    module.forward = flat
    try:
        with _quiet():
            return torch.export.export(module, args, kwargs, strict=False)
    except Exception as error:
        _require_runs(module, args, kwargs)
        raise ModelError(
            f"torch.export cannot follow {kind}{fault_site(error, module)}: {first_line(error)}; rewrite "
            f"that line without control flow that depends on values, or prune a part of the model that does "
            f"without it, such as {_part_to_prune(module)}"
        ) from error


def _require_runs(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    try:
        with torch.no_grad(), _no_packed_sequences(module):
            module(*args, **kwargs)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} does not run on inputs of shape {shapes_of((args, kwargs))}"
            f"{fault_site(error, module)}: {first_line(error)}"
        ) from error


@contextlib.contextmanager
def _no_packed_sequences(module: nn.Module) -> Iterator[None]:
    """Refuse packed sequences meanwhile: their lengths are values, which a traced graph does not have."""

    def refuse(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], PackedSequence):
            raise ModelError(
                f"{type(module).__name__} packs its sequences, which torch.export cannot follow: "
                "leave them padded, and read the output at each one's last step"
            )

    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]
    hooks = [layer.register_forward_pre_hook(refuse) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _part_to_prune(module: nn.Module) -> str:
    """The attribute that holds most of the parameters, by way of example."""
    if isinstance(getattr(module, "backbone", None), nn.Module):
        return "model.backbone"
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()}
    return f"model.{max(sizes, key=lambda name: sizes[name])}" if sizes else "a submodule"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """``torch.export`` prints the whole graph and advice for its own developers; the error says enough."""
    logger = logging.getLogger("torch.export")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
