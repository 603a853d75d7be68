"""What a latency depends on in a model: shapes, not values."""

from __future__ import annotations

import hashlib

from torch import nn

_PLAIN = (bool, int, float, str, type(None))


def shape_signature(model: nn.Module) -> str:
    """Sixteen hexadecimal digits, equal for models that differ only in the values of their tensors.

    Made of the shapes and types of all parameters and buffers, and of every module's class and plain
    attributes (strides, heads, whether a block was taken out), in a millisecond or so.
    """
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
    for path, module in model.named_modules():
        kind = type(module)
        digest.update(f"{path} {kind.__module__}.{kind.__qualname__} {_attributes(module)}\n".encode())
    return digest.hexdigest()[:16]


def _attributes(module: nn.Module) -> list[tuple[str, object]]:
    own = vars(module).items()
    return sorted((n, v) for n, v in own if n != "training" and not n.startswith("_") and _is_plain(v))


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))
