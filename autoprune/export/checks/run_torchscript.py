"""Runs a TorchScript file with nothing but torch: ``run_torchscript.py MODEL INPUTS OUTPUTS``.

INPUTS and OUTPUTS are safetensors files: batch ``"0"`` gives the output tensors ``"0.0"``, ``"0.1"``, ...
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def main(model: str, inputs: str, outputs: str) -> None:
    """Load, run, store."""
    module = torch.jit.load(model)  # type: ignore[no-untyped-call]
    results = {}
    with torch.no_grad():
        for name, batch in load_file(inputs).items():
            for position, tensor in enumerate(_tensors_of(module(batch))):
                results[f"{name}.{position}"] = tensor.contiguous().clone()
    save_file(results, outputs)


def _tensors_of(output: Any) -> list[Tensor]:
    """As in ``run_pt2.py``, which cannot be imported here without this package."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if output is None:
        return []
    return [tensor for part in output for tensor in _tensors_of(part)]


if __name__ == "__main__":
    sys.modules["autoprune"] = None  # type: ignore[assignment]  # the file must not need this package
    main(*sys.argv[1:])
