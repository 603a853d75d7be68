"""A pruned model from the original and ``model.safetensors``; needs torch and the original's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("model.safetensors")

# Attributes of modules that pruning changed, by the module's name.
SIZES: dict[str, dict[str, Any]] = {}

# Layers whose class requires equal sizes, with the class below that replaces it.
REPLACED: dict[str, str] = {}

# Removed blocks, with the name and position of the argument that each passes through.
REMOVED: dict[str, tuple[str, int]] = {}


def load(model: nn.Module) -> nn.Module:
    """Prune an original network in place, load its weights, and return it in evaluation mode."""
    for path, (argument, position) in REMOVED.items():
        parent, _, name = path.rpartition(".")
        block = model.get_submodule(path)
        setattr(model.get_submodule(parent), name, HandOn(block, argument, position))
    for path, kind in REPLACED.items():
        model.get_submodule(path).__class__ = globals()[kind]
    for path, sizes in SIZES.items():
        for name, value in sizes.items():
            setattr(model.get_submodule(path), name, value)
    held = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in read(WEIGHTS).items():
        held[name].data = tensor
    return model.eval()


class HandOn(nn.Module):
    """Replaces a removed residual block, and exposes its attributes to the surrounding code."""

    def __init__(self, block: nn.Module, argument: str, position: int) -> None:
        super().__init__()
        self.argument, self.position = argument, position
        # In a tuple, the block is not registered as a submodule.
        self._replaced = (block.to("meta"),)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The argument to which the block added its branches."""
        value: Tensor = args[self.position] if 0 <= self.position < len(args) else kwargs[self.argument]
        return value

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_replaced" not in self.__dict__ or name.startswith("__"):
                raise
            return getattr(self._replaced[0], name)


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    types = {
        **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
        **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
        **{"U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64},
    }
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        dtype, (first, end) = types[entry["dtype"]], entry["data_offsets"]
        tensor = torch.empty(0, dtype=dtype)
        if end > first:
            count = (end - first) // dtype.itemsize
            tensor = torch.frombuffer(content, dtype=dtype, count=count, offset=start + first).clone()
        tensors[name] = tensor.reshape(entry["shape"])
    return tensors
