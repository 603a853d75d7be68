"""Runs a ``.pte`` file with nothing but ExecuTorch: ``run_executorch.py MODEL INPUTS OUTPUTS``.

INPUTS and OUTPUTS are safetensors files: batch ``"0"`` gives the output tensors ``"0.0"``, ``"0.1"``, ...
"""

from __future__ import annotations

import sys

from executorch.runtime import Runtime
from safetensors.torch import load_file, save_file


def main(model: str, inputs: str, outputs: str) -> None:
    """Load, run, store."""
    method = Runtime.get().load_program(model).load_method("forward")
    results = {}
    for name, batch in load_file(inputs).items():
        for position, tensor in enumerate(method.execute([batch])):
            results[f"{name}.{position}"] = tensor.contiguous().clone()
    save_file(results, outputs)


if __name__ == "__main__":
    sys.modules["autoprune"] = None  # type: ignore[assignment]  # the file must not need this package
    main(*sys.argv[1:])
