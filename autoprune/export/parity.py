"""Check that a file, loaded in a fresh process, computes the same as the pruned model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from autoprune.errors import ExportError
from autoprune.utils.python_process import module_paths, python_words

SECONDS = 1800
"""Timeout of a check."""
LONGEST_REASON = 300
ERROR_LINE = re.compile(r"[\w.]+: ")
SMALLEST_SCALE = 1e-3
"""Smallest scale for comparing outputs, because a model may return zeros."""

Command = Callable[[Path, Path], Sequence[str | Path]]
"""Arguments for Python, given the input file and the output file."""


def run_fresh(what: str, command: Command, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of a check program in a fresh Python process.

    Raises ExportError, with the program's error, if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="autoprune-check-") as name:
        inputs, outputs = Path(name) / "inputs.safetensors", Path(name) / "outputs.safetensors"
        safetensors.torch.save_file({key: value.contiguous() for key, value in stored.items()}, inputs)
        try:
            done = subprocess.run(
                python_words(command(inputs, outputs), "-B"),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"{what} did not load within {SECONDS} s: export fewer formats") from error
        if done.returncode != 0 or not outputs.is_file():
            reason = _reason(done.stderr) or f"exit code {done.returncode}"
            raise ExportError(f"{what} does not load in a fresh process: {reason}")
        return safetensors.torch.load_file(outputs)


def largest_difference(
    what: str, expected: Mapping[str, Tensor], actual: Mapping[str, Tensor], tolerance: float
) -> float:
    """Largest absolute difference over all output tensors of all batches.

    Args:
        what: the file, for messages.
        expected: the pruned model's outputs, by name.
        actual: the file's outputs, by name.
        tolerance: largest difference allowed, relative to the largest expected output.

    Raises:
        ExportError: if tensors are missing or of another shape, or the difference exceeds the tolerance.
    """
    if not expected or _shapes(actual) != _shapes(expected):
        raise ExportError(f"{what} returns different tensors from the pruned model: leave out this format")
    largest, scale = 0.0, SMALLEST_SCALE
    for name, tensor in expected.items():
        if tensor.numel():
            exact = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
            scale = max(scale, exact.abs().max().item())
            # torch's maximum keeps NaN where Python's would depend on the order.
            difference = (exact - actual[name].to(exact.dtype)).abs().max()
            largest = torch.maximum(torch.tensor(largest, dtype=torch.float64), difference).item()
    if not largest <= tolerance * scale:
        raise ExportError(
            f"{what} differs from the pruned model by {largest:.2g}, "
            f"where {tolerance * scale:.2g} is allowed: leave out this format"
        )
    return largest


def _reason(stderr: str) -> str:
    """The line of a traceback that names the error, or the last line."""
    lines = stderr.strip().splitlines()
    named = [line for line in lines if ERROR_LINE.match(line)]
    return (named or lines or [""])[-1][:LONGEST_REASON]


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _environment() -> dict[str, str]:
    """This process's environment, import path and number of threads."""
    paths = module_paths(sys.path, Path.cwd())
    return {**os.environ, **paths, "OMP_NUM_THREADS": str(torch.get_num_threads())}
