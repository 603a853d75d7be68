"""Running a model on other values for its tensors, without a second model in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from autoprune.structure.verification.precision import coarser, in_type, is_number

Make = Callable[[], Tensor]

_ABOUT = frozenset(
    {
        *(
            getattr(Tensor, name)
            for name in ("dim", "element_size", "is_complex", "is_contiguous", "ndimension")
        ),
        *(getattr(Tensor, name) for name in ("is_floating_point", "numel", "nelement", "size", "stride")),
        *(
            getattr(Tensor, name).__get__
            for name in ("device", "grad", "is_cuda", "is_leaf", "is_meta", "is_nested", "is_quantized")
        ),
        *(
            getattr(Tensor, name).__get__
            for name in ("is_sparse", "layout", "ndim", "requires_grad", "shape")
        ),
        Tensor.__len__,
    }
)
"""What asks for no value, so that none needs to be made."""

_CASTS = frozenset({Tensor.bfloat16, Tensor.double, Tensor.float, Tensor.half})
"""Models cast to keep or to save precision; here everything is of one type anyway."""

_RANDOM = frozenset(
    {
        functional.dropout,
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
        torch.dropout,
        torch.feature_dropout,
    }
)
"""Left out, so that two runs can be compared."""

_OVER_LAST = frozenset({functional.layer_norm, functional.rms_norm, torch.layer_norm, torch.rms_norm})
_OVER_CHANNELS = frozenset({functional.group_norm, torch.group_norm})


class Substitute(TorchFunctionMode):
    """While active, every operator gets other values for some tensors, all in one floating-point type.

    A value is made when an operator asks for it and dropped right after, so that the peak is that of the
    largest tensor rather than of a second model. Dropout is left out.

    Args:
        values: identity of a tensor -> what makes its value.
        dtype: the type in which all operators compute, complex numbers in the one that goes with it; None
            leaves tensors and casts as they are.
        kept: identity of the weight of a normalisation -> positions over which alone it is to compute
            its statistics; its result is zero elsewhere.

    Attributes:
        coarsest: the type of the fewest digits that an operator has given a result in.
    """

    def __init__(
        self, values: Mapping[int, Make], dtype: torch.dtype | None, kept: Mapping[int, Tensor] | None = None
    ) -> None:
        super().__init__()
        self._values = values
        self._dtype = dtype
        self._kept = kept or {}
        self.coarsest = torch.float64

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch in place of every operator."""
        named = dict(kwargs or {})
        if func in _ABOUT:
            return func(*args, **named)
        if func in _RANDOM:
            return self._value(args[0] if args else named["input"])
        if func in _CASTS and self._dtype is not None:
            return self._matched(self._value(args[0]), always=True)
        kept = self._kept_by(func, args, named) if self._kept else None
        args, named = tree_map(self._value, (args, named))
        if kept is not None:
            return _over(kept, -1 if func in _OVER_LAST else 1, func, args, named)
        result = func(*args, **named)
        if self._dtype is None:
            self._note(result)
            return result
        # New tensors have the default type; what is written into a copy of them later would be lost.
        return tree_map(self._matched, result)

    def _value(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.dtype):
            return leaf if self._dtype is None else in_type(leaf, self._dtype)
        if not isinstance(leaf, Tensor):
            return leaf
        make = self._values.get(id(leaf))
        return self._matched(leaf) if make is None else make()

    def _matched(self, leaf: Any, *, always: bool = False) -> Any:
        """A tensor of numbers in the type of all; any other one only where `always`."""
        if self._dtype is None or not isinstance(leaf, Tensor) or not (always or is_number(leaf)):
            return leaf
        wanted = in_type(leaf.dtype, self._dtype) if is_number(leaf) else self._dtype
        return leaf if leaf.dtype == wanted else leaf.to(wanted)

    def _note(self, result: Any) -> None:
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and is_number(leaf):
                self.coarsest = coarser(self.coarsest, leaf.dtype)

    def _kept_by(self, func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor | None:
        if func not in _OVER_LAST and func not in _OVER_CHANNELS:
            return None
        weight = named.get("weight", args[2] if len(args) > 2 else None)
        return self._kept.get(id(weight))


def _over(kept: Tensor, axis: int, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """A normalisation over the kept positions alone, with zeros at the others."""
    rms = func in (functional.rms_norm, torch.rms_norm)
    names = ("input", "size", "weight", "eps") if rms else ("input", "size", "weight", "bias", "eps")
    bound = dict(zip(names, args, strict=False))
    for key, value in named.items():
        bound["size" if key in ("normalized_shape", "num_groups") else key] = value
    x = bound.pop("input")
    affine = {
        key: bound[key].index_select(0, kept) for key in ("weight", "bias") if bound.get(key) is not None
    }
    eps = {"eps": bound["eps"]} if "eps" in bound else {}
    one_each = axis == 1 and bound["size"] == x.shape[1]
    size = (len(kept),) if axis == -1 else len(kept) if one_each else bound["size"]
    part = func(x.index_select(axis, kept), size, **affine, **eps)
    result: Tensor = torch.zeros_like(x).index_copy(axis, kept, part)
    return result
