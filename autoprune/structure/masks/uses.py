"""How a model uses its weights, seen by running it once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from autoprune.errors import ModelError
from autoprune.structure.graph.error_site import fault_site, first_line
from autoprune.structure.graph.trace import ready
from autoprune.structure.graph.values import ExampleInputs, as_call, tensors_in
from autoprune.structure.graph.weighted_calls import CELLS, CONVOLUTIONS, RECURRENT, TRANSPOSED
from autoprune.structure.masks.weights import Weight

_TOKENS = RECURRENT | CELLS | {"multi_head_attention_forward"}
"""Operators that read their weights once for every vector along the last axis of their first argument."""


@dataclass
class Uses:
    """What one call does with the weights.

    Attributes:
        counts: name -> how often each entry is multiplied, in the order of first use; 0 where a weight is
            read by an operator that is not known to multiply it once a position.
        outputs: names of linear weights whose product leaves the model as it is.
    """

    counts: dict[str, int] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()


def find_uses(model: nn.Module, weights: Iterable[Weight], example_inputs: ExampleInputs) -> Uses:
    """Run the model once in evaluation mode. Raises ModelError when it does not run on the inputs."""
    runner = ready(model)
    by_tensor = {id(model.get_parameter(weight.name)): weight.name for weight in weights}
    counter = _UseCounter(by_tensor)
    args, kwargs = as_call(example_inputs)
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused attention layer hides which weight meets how many tokens.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counter:
            result = runner(*args, **kwargs)
    except Exception as error:  # anything may happen in the user's forward
        raise ModelError(
            f"the model does not run on the example inputs: {first_line(error)}{fault_site(error, runner)}"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    leaving = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(result)}
    outputs = (name for name, product in counter.products if product.untyped_storage().data_ptr() in leaving)
    return Uses(counter.counts, frozenset(outputs))


class _UseCounter(TorchFunctionMode):
    """Notes every operator that is given one of the weights."""

    def __init__(self, by_tensor: Mapping[int, str]) -> None:
        super().__init__()
        self._by_tensor = by_tensor
        self.counts: dict[str, int] = {}
        self.products: list[tuple[str, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch in place of every operator."""
        named = dict(kwargs or {})
        result = func(*args, **named)
        given = [*args, *named.values()]
        tensors = tensors_in(given)
        for tensor in tensors:
            name = self._by_tensor.get(id(tensor))
            if name is not None:
                kind = getattr(func, "__name__", "")
                times = _times(kind, tensors[0], tensor, result)
                self.counts[name] = self.counts.get(name, 0) + times
                if kind == "linear":
                    self.products.append((name, result))
        return result


def _times(kind: str, source: Tensor, weight: Tensor, result: Any) -> int:
    """How often an operator multiplies each entry of the weight."""
    if kind == "linear" or kind in CONVOLUTIONS:
        return int(result.numel()) // weight.shape[0]
    if kind in TRANSPOSED:
        return source.numel() // weight.shape[0]
    if kind in _TOKENS:
        return source.numel() // source.shape[-1]
    return 0
