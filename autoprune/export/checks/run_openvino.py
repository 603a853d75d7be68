"""Runs an ``.xml`` file with nothing but OpenVINO: ``run_openvino.py MODEL INPUTS OUTPUTS``.

INPUTS and OUTPUTS are safetensors files: batch ``"0"`` gives the output tensors ``"0.0"``, ``"0.1"``, ...
"""

from __future__ import annotations

import sys

import numpy as np
import openvino
from safetensors.numpy import load_file, save_file


def main(model: str, inputs: str, outputs: str) -> None:
    """Load, run, store."""
    # Left to itself the plugin may choose bfloat16, which differs by more than a wrong file would.
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = {}
    for name, batch in load_file(inputs).items():
        for position, array in enumerate(compiled(batch).values()):
            results[f"{name}.{position}"] = np.array(array, order="C")
    save_file(results, outputs)


if __name__ == "__main__":
    for module in ("autoprune", "torch"):
        sys.modules[module] = None  # type: ignore[assignment]  # the file must not need them
    main(*sys.argv[1:])
