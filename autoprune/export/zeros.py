"""Check that a file contains the zeros of a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.errors import ExportError
from autoprune.export.load import WEIGHTS_FILE


def confirm_zeros(name: str, path: Path, model: nn.Module) -> str:
    """Compare the number of zeros in a file's weights with that of the model.

    Weights are tensors of two axes or more. The file may use other names, and contain more zeros.

    Args:
        name: the format.
        path: its file.
        model: the masked model, folded.

    Returns:
        A note on the result.

    Raises:
        ExportError: if the file has fewer zeros than the model.
    """
    expected = _zeros(parameter.detach() for parameter in model.parameters())
    if name not in _COUNTS:
        return "its zeros cannot be counted in this format"
    actual = _COUNTS[name](path)
    if actual < expected:
        raise ExportError(f"{path.name} contains {actual} zero weights where the model has {expected}")
    return f"{actual:,} zero weights counted in the file"


def _in_state(path: Path) -> int:
    return _zeros(safetensors.torch.load_file(path).values())


def _in_pt2(path: Path) -> int:
    program = torch.export.load(path)
    held: Mapping[str, object] = {**program.state_dict, **program.constants}
    return _zeros(value for value in held.values() if isinstance(value, Tensor))


def _in_onnx(path: Path) -> int:
    import onnx

    graph = onnx.load(str(path)).graph
    arrays: Iterable[NDArray[np.generic]] = (onnx.numpy_helper.to_array(item) for item in graph.initializer)
    return sum(array.size - int(np.count_nonzero(array)) for array in arrays if array.ndim > 1)


def _in_factory(path: Path) -> int:
    return _in_state(path.with_name(WEIGHTS_FILE))


def _in_openvino(path: Path) -> int:
    import openvino

    constants = [
        node for node in openvino.Core().read_model(path).get_ordered_ops() if node.type_name == "Constant"
    ]
    arrays = (node.data for node in constants)
    return sum(array.size - int(np.count_nonzero(array)) for array in arrays if array.ndim > 1)


def _in_torchscript(path: Path) -> int:
    module = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return _zeros(parameter.detach() for parameter in module.parameters())


_COUNTS: Mapping[str, Callable[[Path], int]] = {
    "state": _in_state,
    "python": _in_factory,
    "pt2": _in_pt2,
    "onnx": _in_onnx,
    "int8": _in_onnx,
    "openvino": _in_openvino,
    "torchscript": _in_torchscript,
}


def _zeros(tensors: Iterable[Tensor]) -> int:
    return sum(
        tensor.numel() - int(torch.count_nonzero(tensor))
        for tensor in tensors
        if tensor.ndim > 1 and tensor.is_floating_point()
    )
