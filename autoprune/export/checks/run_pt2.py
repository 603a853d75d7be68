"""Runs a ``.pt2`` file with nothing but torch: ``run_pt2.py MODEL INPUTS OUTPUTS``.

INPUTS and OUTPUTS are safetensors files: batch ``"0"`` gives the output tensors ``"0.0"``, ``"0.1"``, ...
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def tensors_of(output: Any) -> list[Tensor]:
    """The tensors of a model's output (a tensor, or tuples, lists and mappings of them), in order."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in tensors_of(part)]
    if output is None:
        return []
    raise TypeError(f"the model returns {type(output).__name__}: return tensors, tuples, lists or dicts")


def main(model: str, inputs: str, outputs: str) -> None:
    """Load, run, store."""
    module = torch.export.load(model).module()
    results = {}
    with torch.no_grad():
        for name, batch in load_file(inputs).items():
            for position, tensor in enumerate(tensors_of(module(batch))):
                results[f"{name}.{position}"] = tensor.contiguous().clone()
    save_file(results, outputs)


if __name__ == "__main__":
    sys.modules["autoprune"] = None  # type: ignore[assignment]  # the file must not need this package
    main(*sys.argv[1:])
