"""Giving every use of a shared weight a copy of its own, so that each can be cut alone."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from autoprune.errors import ModelError
from autoprune.structure.admission import require_prunable
from autoprune.structure.graph.error_site import first_line
from autoprune.structure.graph.trace import canonical_names, ready, shell, trace
from autoprune.structure.graph.values import ExampleInputs, as_call, shapes_of
from autoprune.structure.groups import Structure, Untying, layer_of
from autoprune.structure.wrappers import unwrapped


class InTurn(nn.Module):
    """Copies of a module that was called several times in a forward pass: each call runs the next one.

    The parameters of copy ``i`` are named ``<module>.<i>.<name>``. Every call of the whole model begins with
    the first copy again. Code that reads a parameter or setting of the module gets that of the first copy.

    Args:
        module: becomes the first copy.
        calls: number of copies.
    """

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        for call in range(calls):
            self._modules[str(call)] = module if call == 0 else copy.deepcopy(module)
        self.train(module.training)
        self._turn = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the copy whose turn it is."""
        module = self._modules[str(self._turn)]
        self._turn = (self._turn + 1) % len(self._modules)
        return module(*args, **kwargs)  # type: ignore[misc]  # none of them is None

    def restart(self, *_: Any) -> None:
        """Begin with the first copy; a hook on the whole model calls this before each forward pass."""
        self._turn = 0

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            first = self.__dict__.get("_modules", {}).get("0")
            if first is None or name.startswith("__") or name.isdigit():
                raise
            return getattr(first, name)


def untie(model: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """A copy of the model in which every use of a shared weight has its own.

    * A parameter or module under several names becomes a separate one under each name that the forward
      pass uses. Names that it does not use stay aliases.
    * A module that is called ``n`` times in one forward pass becomes ``n`` copies, used in the order of the
      calls; see :class:`InTurn` for their names.

    A parameter that code reads several times by one name, such as a weight that is also used transposed,
    stays one parameter.

    Args:
        model: any module; it is not changed.
        example_inputs: as for :func:`autoprune.discover`.

    Raises:
        ModelError: when the model does not run on the inputs or cannot be traced.
    """
    model = unwrapped(model)
    untying = plan_untying(model, example_inputs)
    return copy.deepcopy(model) if untying is None else untied(model, untying)


def plan_untying(model: nn.Module, example_inputs: ExampleInputs) -> Untying | None:
    """What is used several times, None if nothing is. Raises ModelError when the model cannot be traced."""
    require_prunable(model)
    names = canonical_names(model)
    apart: tuple[str, ...] = ()
    if len(set(names.values())) < len(names):
        traced = trace(_separated(shell(model), list(names)), example_inputs)
        owners = {layer_of(name) for name in traced.parameters - traced.unread}
        apart = tuple(_beyond_the_first([name for name in names if layer_of(name) in owners], names))
    separate = _separated(shell(model), apart)
    repeats: list[tuple[str, int]] = []
    while (found := _called_again(separate, example_inputs)) is not None:
        repeats.append(found)
        _take_turns(separate, *found)
    return Untying(apart, tuple(repeats)) if apart or repeats else None


def untied(model: nn.Module, untying: Untying) -> nn.Module:
    """The copy of `model` that an untying describes."""
    separate = _separated(copy.deepcopy(model), untying.apart)
    for path, calls in untying.repeats:
        _take_turns(separate, path, calls)
    return separate


def described(model: nn.Module, structure: Structure) -> nn.Module:
    """The model whose tensors `structure` names: the given one, or its untied copy."""
    if structure.untying is None:
        return model
    held = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    return model if held.issuperset(structure.tensors) else untied(model, structure.untying)


def _beyond_the_first(used: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Of the names that are used, those whose tensor is used under an earlier name, too."""
    first: dict[str, str] = {}
    return [name for name in used if first.setdefault(names[name], name) != name]


def _separated(model: nn.Module, apart: Sequence[str]) -> nn.Module:
    """The model, changed so that the tensors of these names are copies; all others stay as they were."""
    paths = {id(module): path for path, module in model.named_modules()}
    for name in apart:
        owner = model
        for depth, child in enumerate(name.split(".")[:-1], start=1):
            path = ".".join(name.split(".")[:depth])
            module = getattr(owner, child)
            if paths.setdefault(id(module), path) != path:
                # Held under another name as well: this name gets a module of its own, with the same tensors.
                module = shell(module)
                paths |= {id(part): f"{path}.{inner}".rstrip(".") for inner, part in module.named_modules()}
                owner._modules[child] = module
            owner = module
        _renew(owner, name.rpartition(".")[2])
    return model


def _renew(owner: nn.Module, leaf: str) -> None:
    """Replace one tensor of a module by a copy."""
    tensor = getattr(owner, leaf)
    value = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=tensor.requires_grad)
    else:
        owner._buffers[leaf] = value


def _called_again(model: nn.Module, example_inputs: ExampleInputs) -> tuple[str, int] | None:
    """Path and number of calls of the outermost module with parameters that is called more than once."""
    bench, calls = ready(model), Counter[str]()
    for path, module in bench.named_modules():
        if path and not isinstance(module, InTurn) and next(module.parameters(), None) is not None:
            module.register_forward_pre_hook(partial(_count, calls, path))
    args, kwargs = as_call(example_inputs)
    try:
        with torch.no_grad():
            bench(*args, **kwargs)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} does not run on inputs of shape {shapes_of((args, kwargs))}: "
            f"{first_line(error)}"
        ) from error
    again = (path for path, _ in bench.named_modules() if calls[path] > 1)
    path = next(again, None)
    return None if path is None else (path, calls[path])


def _count(calls: Counter[str], path: str, *_: Any) -> None:
    calls[path] += 1


def _take_turns(model: nn.Module, path: str, calls: int) -> None:
    """Put copies of a module in its place, under all its names."""
    module = model.get_submodule(path)
    copies = InTurn(module, calls)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is module and parent is not copies:
                parent._modules[name] = copies
    model.register_forward_pre_hook(copies.restart)
