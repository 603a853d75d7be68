"""The weights that can be masked, and how each is read as a matrix of outputs by inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Layer = Literal["convolution", "linear", "attention", "recurrent"]

_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Weight:
    """One weight tensor.

    As a matrix it has a row for each output, and its columns run over the inputs: for a convolution over
    ``in_channels * kernel``, flattened, as the matrix product does that computes it (im2col). The kinds of
    transposed convolution are stored with inputs first and are turned for it.

    Attributes:
        name: state-dict name.
        layer: what holds it.
        shape: of the tensor.
        kernel: entries of one kernel of a convolution, 1 elsewhere.
        blocks: groups of a transposed convolution; 0 for everything that is stored with outputs first.
    """

    name: str
    layer: Layer
    shape: tuple[int, ...]
    kernel: int = 1
    blocks: int = 0

    @property
    def group(self) -> str:
        """Name of its group: the module's path, or the tensor's name where a module has several."""
        return self.name.removesuffix(".weight")

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Outputs."""
        return self.shape[1] * self.blocks if self.blocks else self.shape[0]

    @property
    def columns(self) -> int:
        """Inputs of an output."""
        return self.size // max(self.rows, 1)

    def matrix(self, tensor: Tensor) -> Tensor:
        """The tensor as ``[rows, columns]``."""
        if self.blocks:
            tensor = tensor.reshape(self.blocks, -1, *self.shape[1:]).transpose(1, 2)
        return tensor.reshape(self.rows, self.columns)

    def tensor(self, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`matrix`."""
        if not self.blocks:
            return matrix.reshape(self.shape)
        outputs, inputs = self.shape[1], self.shape[0] // self.blocks
        parts = matrix.reshape(self.blocks, outputs, inputs, *self.shape[2:])
        return parts.transpose(1, 2).reshape(self.shape)


def weights_of(model: nn.Module) -> list[Weight]:
    """Every weight that a pattern may be laid on, one that is shared under its first name only."""
    seen: set[int] = set()
    found = []
    for path, module in model.named_modules():
        for weight in _held(path, module):
            tensor = model.get_parameter(weight.name)
            if id(tensor) not in seen and tensor.is_floating_point() and tensor.ndim > 1:
                seen.add(id(tensor))
                found.append(weight)
    return found


def _held(path: str, module: nn.Module) -> Iterator[Weight]:
    prefix = f"{path}." if path else ""
    for leaf, tensor in module._parameters.items():
        layer = _layer(module, leaf)
        if tensor is None or layer is None:
            continue
        kernel, blocks = 1, 0
        if isinstance(module, _ConvNd):
            kernel = math.prod(module.kernel_size)
            blocks = module.groups if isinstance(module, _ConvTransposeNd) else 0
        yield Weight(prefix + leaf, layer, tuple(tensor.shape), kernel, blocks)


def _layer(module: nn.Module, leaf: str) -> Layer | None:
    if isinstance(module, _ConvNd):
        return "convolution" if leaf == "weight" else None
    if isinstance(module, nn.Linear):
        return "linear" if leaf == "weight" else None
    if isinstance(module, nn.MultiheadAttention):
        return "attention" if leaf in _ATTENTION else None
    if isinstance(module, _RECURRENT):
        return "recurrent" if leaf.startswith("weight_") else None
    return None
