"""Keeping zeros zero while a model trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoprune.errors import ModelError


class ZeroMask(nn.Module):
    """Parametrization that gives a weight with zeros where the mask is false.

    The weight underneath gets no gradient there, so that no optimiser brings a zero back to life,
    whatever momentum or weight decay it has.

    Attributes:
        mask: boolean, in the weight's shape; a buffer, which moves with the model.
        order: names of the module's parameters before, to put them back in order.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, order: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())
        self.order = order

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its zeros."""
        return torch.where(self.mask, weight, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored for a weight that is assigned."""
        return torch.where(self.mask, weight, 0)


def attach(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Parametrize weights of a model in place, everywhere that a shared one is used.

    Args:
        model: the caller owns it.
        masks: name of a parameter -> boolean mask in its shape.
    """
    wanted = {id(model.get_parameter(name)): mask for name, mask in masks.items()}
    for module in list(model.modules()):
        order = tuple(module._parameters)
        for leaf, parameter in list(module._parameters.items()):
            if parameter is not None and id(parameter) in wanted:
                mask = wanted[id(parameter)].to(parameter.device)
                _own_class(module)
                parametrize.register_parametrization(module, leaf, ZeroMask(mask, order))


def detach(model: nn.Module) -> None:
    """Fold every mask into its weight, in place; names and order of the parameters are as they were.

    Raises ModelError for a weight that has another parametrization beside its mask.
    """
    for module in list(model.modules()):
        own = masks_of(module)
        _own_class(module)
        for leaf in own:
            parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)
        if own:
            order = max((mask.order for mask in own.values()), key=len)
            for leaf in order:
                if leaf in module._parameters:
                    module._parameters[leaf] = module._parameters.pop(leaf)
            if isinstance(module, nn.RNNBase):
                module._init_flat_weights()


def masks_of(module: nn.Module) -> dict[str, ZeroMask]:
    """Name of a parameter of this very module -> the mask on it.

    Raises ModelError for a weight that has another parametrization beside its mask.
    """
    if not parametrize.is_parametrized(module):
        return {}
    found: dict[str, ZeroMask] = {}
    for leaf, parts in module.parametrizations.items():  # type: ignore[operator, union-attr]
        own = [part for part in parts if isinstance(part, ZeroMask)]
        if own and len(parts) > 1:
            raise ModelError(f"the weight {leaf!r} has other parametrizations beside its mask: remove them")
        if own:
            found[leaf] = own[0]
    return found


def _own_class(module: nn.Module) -> None:
    """Part a parametrized module from its copies.

    PyTorch makes a class for each parametrized module and changes it later on, but copies share it.
    """
    if parametrize.is_parametrized(module):
        kind = type(module)
        content = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        module.__class__ = type(kind.__name__, kind.__bases__, content)


@contextmanager
def held_zeros(model: nn.Module, names: tuple[str, ...]) -> Iterator[None]:
    """Keep the zeros of these parameters zero meanwhile, in place; afterwards the model is plain again."""
    attach(model, {name: model.get_parameter(name).detach() != 0 for name in names})
    try:
        yield
    finally:
        detach(model)
