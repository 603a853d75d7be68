"""The weight of a consumer as a matrix of rows by features, and back into a cut model."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.recovery.reconstruction.input_moments import Consumer

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows of a consumer that stay, counted from its first, and where they begin in the cut weight."""

    index: Tensor
    begin: int


@dataclass(frozen=True, eq=False)
class Fitted:
    """Rows of a weight, and what their results lost on average, which is to go to the bias."""

    weight: Tensor
    shift: Tensor


def part_of(consumer: Consumer, weight: Tensor) -> Tensor:
    """The rows of an original weight, or of what goes with it, that the consumer uses."""
    return weight.detach()[slice(*consumer.rows)]


def rows_kept(consumer: Consumer, kept: Mapping[int, Positions], weight: Tensor) -> KeptRows:
    """Which rows of the consumer stay.

    Args:
        consumer: whose rows.
        kept: axis of its weight -> positions that stay.
        weight: the original weight.
    """
    axis = 1 - consumer.axis
    every = kept.get(axis, np.arange(weight.shape[axis]))
    first, stop = consumer.rows if axis == 0 else (0, weight.shape[1])
    begin, end = np.searchsorted(every, [first, stop])
    return KeptRows(torch.from_numpy(every[begin:end] - first).to(weight.device), int(begin))


def bias_kept(consumer: Consumer, tensors: Mapping[str, Tensor], rows: KeptRows) -> Tensor | None:
    """The original bias of the rows that stay; None for a consumer without one."""
    if consumer.bias is None:
        return None
    return part_of(consumer, tensors[consumer.bias])[rows.index]


def as_matrix(consumer: Consumer, part: Tensor) -> Tensor:
    """Rows of a weight as ``[groups, rows, features]`` in float64.

    Where the input is not unfolded, every element of the kernel has rows of its own.
    """
    part = part.double()
    if consumer.axis == 0:
        return part.flatten(1).T.unsqueeze(0)
    grouped = torch.unflatten(part, 0, (consumer.groups, -1))
    if part.dim() == 2:
        return grouped
    flat = grouped.flatten(3)
    return flat.flatten(2) if consumer.unfolded else flat.transpose(2, 3).flatten(1, 2)


def from_matrix(consumer: Consumer, matrix: Tensor, shift: Tensor, like: Tensor) -> Fitted:
    """The rows of a weight that :func:`as_matrix` turns into `matrix`.

    Args:
        consumer: whose rows.
        matrix: ``[groups, rows, features]``.
        shift: ``[groups, rows]``; what a kernel's elements lost is added up.
        like: a part of the weight, of any size along the input axis.
    """
    kernel, unflatten = like.shape[2:], torch.unflatten
    if consumer.axis == 0:
        return Fitted(unflatten(matrix[0].T, 1, like.shape[1:]), shift.new_zeros(0))
    if not kernel:
        return Fitted(matrix.flatten(0, 1), shift.flatten())
    if consumer.unfolded:
        return Fitted(unflatten(matrix.flatten(0, 1), 1, (-1, *kernel)), shift.flatten())
    by_element = unflatten(matrix, 1, (-1, kernel.numel())).transpose(2, 3).flatten(0, 1)
    return Fitted(
        unflatten(by_element, 2, kernel), unflatten(shift, 1, (-1, kernel.numel())).sum(2).flatten()
    )


def own(model: nn.Module, names: Set[str]) -> None:
    """Give a cut model parameters of its own: what a cut leaves whole may be the original model's."""
    for name in names:
        old = model.get_parameter(name)
        new = nn.Parameter(old.detach().clone(), requires_grad=old.requires_grad)
        for module in model.modules():
            for leaf, parameter in list(module._parameters.items()):
                if parameter is old:
                    setattr(module, leaf, new)


def write(pruned: nn.Module, consumer: Consumer, fitted: Fitted, bias: Tensor | None, begin: int) -> None:
    """Put fitted rows into a cut model whose parameters are its :func:`own`.

    Args:
        pruned: changed in place.
        consumer: whose rows.
        fitted: the rows that stay.
        bias: the original bias of these rows, if the consumer has one.
        begin: where the rows begin in the cut weight.
    """
    _put(pruned.get_parameter(consumer.weight), fitted.weight, 1 - consumer.axis, begin)
    if consumer.bias is not None and bias is not None:
        _put(pruned.get_parameter(consumer.bias), bias.double() + fitted.shift, 0, begin)


def _put(parameter: nn.Parameter, values: Tensor, axis: int, begin: int) -> None:
    """Give a parameter new values along an axis from `begin` on."""
    with torch.no_grad():
        parameter.narrow(axis, begin, values.shape[axis]).copy_(values)
