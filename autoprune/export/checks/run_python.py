"""Builds a model from a factory file and runs it: ``run_python.py FILE INPUTS OUTPUTS [ORIGINAL]``.

ORIGINAL is a file whose ``original`` gives the original model, for a FILE that only turns one into the pruned
one. INPUTS and OUTPUTS are as in ``run_pt2.py``; the output ``"imports_autoprune"`` is 1 where the original
model's own code imports this package, else 0.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def main(file: str, inputs: str, outputs: str, original: str = "") -> None:
    """Import, build, run, store."""
    factory = _module("model", file)
    model = factory.load(_module("original", original).original()) if original else factory.build()
    results = {}
    with torch.no_grad():
        for name, batch in load_file(inputs).items():
            for position, tensor in enumerate(_tensors_of(model(batch))):
                results[f"{name}.{position}"] = tensor.contiguous().clone()
    results["imports_autoprune"] = torch.tensor(int("autoprune" in sys.modules))
    save_file(results, outputs)


def _module(name: str, file: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    main(*sys.argv[1:])
