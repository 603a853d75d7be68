"""Rebuilds a model from its name, plan and weights: ``run_state.py FOLDER SPEC CLASSES INPUTS OUTPUTS``.

CLASSES may be empty. INPUTS and OUTPUTS are as in ``run_pt2.py``; the batch ``"example"`` is traced, not run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from autoprune.export.checks.run_pt2 import tensors_of
from autoprune.export.load import load_exported
from autoprune.tasks import load_model


def main(folder: str, spec: str, classes: str, inputs: str, outputs: str) -> None:
    """Rebuild, run, store."""
    batches = load_file(inputs)
    base = load_model(spec, classes=int(classes) if classes else None)
    model = load_exported(Path(folder), base, batches.pop("example"))
    results = {}
    with torch.no_grad():
        for name, batch in batches.items():
            for position, tensor in enumerate(tensors_of(model(batch))):
                results[f"{name}.{position}"] = tensor.contiguous().clone()
    save_file(results, outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
