"""What goes into ``forward`` and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any

from torch import Tensor

from autoprune.errors import ArgumentError
from autoprune.utils.arguments import described

ExampleInputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""A single tensor, the positional arguments of ``forward``, or its keyword arguments."""


def as_call(example_inputs: ExampleInputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of ``forward``."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    return (example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)), {}


def check_inputs(example_inputs: object) -> None:
    """Raise ArgumentError for what is no tensor and holds none."""
    kinds = (Tensor, tuple, list, Mapping)
    if not isinstance(example_inputs, kinds) or not tensors_in(example_inputs):
        raise ArgumentError(
            f"example_inputs is {described(example_inputs)}: give a tensor, torch.randn(1, 3, 224, 224), "
            "a tuple of the positional arguments of forward, or a mapping of its keyword arguments"
        )


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested sequences, mappings and data classes, in order; all else is left out."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        parts: Sequence[Any] = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Sequence | Set) and not isinstance(value, str | bytes):
        parts = list(value)
    else:
        return []
    return [tensor for part in parts for tensor in tensors_in(part)]


def shapes_of(arguments: tuple[tuple[Any, ...], Mapping[str, Any]]) -> str:
    """The shapes of arguments, for an error message: ``(1, 3, 8, 8), mask=(1, 8)``."""
    positional, named = arguments
    texts = [_shape(value) for value in positional]
    return ", ".join([*texts, *(f"{name}={_shape(value)}" for name, value in named.items())])


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
