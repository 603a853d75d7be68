"""Operators that multiply an input by a weight: which argument is which, and along which axes they multiply.

Operators go by the names that functions of torch have when a mode gets to see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
PRODUCTS = frozenset({"matmul", "__matmul__", "mm", "addmm"})
"""Products of matrices; the weight is ``[in, out]``."""
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
CELLS = frozenset({"lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    **dict.fromkeys(CONVOLUTIONS, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")),
    **dict.fromkeys(
        TRANSPOSED, ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    ),
    **dict.fromkeys(PRODUCTS, ("input", "weight")),
    "addmm": ("bias", "input", "weight"),
}


@dataclass(frozen=True, eq=False)
class WeightedCall:
    """One call of an operator that multiplies an input by a weight, other than a recurrent one.

    Attributes:
        kind: name of the operator.
        given: its arguments by name, without those left at their defaults.
    """

    kind: str
    given: Mapping[str, Any]

    @property
    def input(self) -> Tensor:
        """What is multiplied."""
        tensor: Tensor = self.given["input"]
        return tensor

    @property
    def weight(self) -> Tensor:
        """What it is multiplied by."""
        tensor: Tensor = self.given["weight"]
        return tensor

    @property
    def place(self) -> int:
        """Position of the input among the arguments."""
        return _ARGUMENTS[self.kind].index("input")

    @property
    def ends(self) -> tuple[int, int]:
        """The axes of the weight along which the operator consumes and produces."""
        return (0, 1) if self.kind in TRANSPOSED or self.kind in PRODUCTS else (1, 0)

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, transposed or not."""
        return self.kind in CONVOLUTIONS or self.kind in TRANSPOSED


def weighted_call(kind: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> WeightedCall | None:
    """A call of the operator `kind`; None where it is of another sort or its input or weight is not found."""
    given = {**dict(zip(_ARGUMENTS.get(kind, ()), args, strict=False)), **named}
    known = kind in _ARGUMENTS and "input" in given and "weight" in given
    return WeightedCall(kind, given) if known else None


def is_one_layer(kind: str, args: tuple[Any, ...]) -> bool:
    """Whether a call is of one recurrent layer, in one or both directions, over sequences of one length."""
    # With packed sequences the lengths come second, and the weights where the flag of the biases is here.
    return kind in RECURRENT and len(args) == 9 and isinstance(args[3], bool) and args[4] == 1
