"""Runs an ``.onnx`` file with nothing but ONNX Runtime: ``run_onnx.py MODEL INPUTS OUTPUTS``.

INPUTS and OUTPUTS are safetensors files: batch ``"0"`` gives the output tensors ``"0.0"``, ``"0.1"``, ...
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file


def main(model: str, inputs: str, outputs: str) -> None:
    """Load, run, store."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (argument,) = [entry.name for entry in session.get_inputs()]
    results = {}
    for name, batch in load_file(inputs).items():
        for position, array in enumerate(session.run(None, {argument: batch})):
            results[f"{name}.{position}"] = np.array(array, order="C")
    save_file(results, outputs)


if __name__ == "__main__":
    for module in ("autoprune", "torch"):
        sys.modules[module] = None  # type: ignore[assignment]  # the file must not need them
    main(*sys.argv[1:])
