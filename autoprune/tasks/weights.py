"""Weights on disk: reading, writing and naming them. Nothing is ever unpickled into code."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from autoprune.documents import is_file
from autoprune.errors import DamagedError, DiskError, ModelError
from autoprune.files import replace_file, why_not_written
from autoprune.tasks.archive import check_archive

SHOWN_NAMES, MOST_NAME, MOST_AXES = 3, 100, 8
MOST_HEADER = 16 << 20
"""Bytes of the longest header of a safetensors file: a hundred thousand tensors take as many."""
_WITH_NAN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a ``.safetensors``, ``.pt`` or ``.pth`` state dict into ``model``, in place.

    A ``.pt`` file is read with ``weights_only=True`` and may nest the weights under ``"state_dict"``.
    Of tensors that the model shares under several names, one is enough.

    Raises ModelError when the file is missing, unreadable, or does not fit, and of its kind DamagedError when
    it is broken; the model is then untouched.
    """
    path = Path(path)
    own = _tensors(model)
    if not is_file(path):
        raise ModelError(f"there is no weights file {path}: check --weights")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ModelError(f"{path} is no .safetensors, .pt or .pth file: save the state dict as one of these")
    state = (_from_safetensors if path.suffix == ".safetensors" else _from_torch)(path, own)
    wrong = next((name for name, tensor in state.items() if not _is_plain(tensor)), None)
    if wrong is not None:
        raise ModelError(f"{path}: {wrong} is no plain tensor of finite numbers: save other weights")
    model.load_state_dict(state, strict=False)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors; tensors shared under several names are written once.

    The file appears whole or not at all. Raises DiskError when it cannot be written.
    """
    path = Path(path)
    tensors = _tensors(model)
    first = _first_names(tensors)
    unique = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in tensors.items()
        if first[name] == name
    }
    try:
        replace_file(path, safetensors.torch.save(unique))
    except OSError as error:
        raise DiskError(f"cannot write {path} {why_not_written(error)}") from error


def weights_hash(model: nn.Module) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes of the model's state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's state dict. Raises ModelError when it holds something else than tensors."""
    state = dict(model.state_dict())
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ModelError(f"the model's state {name!r} is no tensor: register it as a buffer")
    return state


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> the first name under which the same memory appears (itself, where it is not shared)."""
    seen: dict[object, str] = {}
    first = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        shareable = tensor.numel() > 0 and not tensor.is_meta
        first[name] = seen.setdefault(place, name) if shareable else name
    return first


def _from_safetensors(path: Path, own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors that the model needs; names and shapes are compared before any of them is read."""
    try:
        with path.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if header > MOST_HEADER:
            raise ValueError(f"a header of {header} bytes")
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check_fit(path, own, shapes)
            return {name: file.get_tensor(name) for name in shapes}
    except ModelError:
        raise
    except Exception as error:  # a damaged file fails anywhere in the reader
        raise _damaged(path) from error


def _from_torch(path: Path, own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    try:
        check_archive(path)
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds more than weights: save model.state_dict() instead") from error
    except Exception as error:  # a damaged file fails anywhere in the reader, by assertions too
        raise _damaged(path) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise ModelError(f"{path} holds no state dict: save model.state_dict()")
    _check_fit(path, own, {name: tuple(tensor.shape) for name, tensor in loaded.items()})
    return loaded


def _damaged(path: Path) -> DamagedError:
    return DamagedError(f"{path} is damaged or no weights file: copy or download it again")


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor of a file is one that a model can compute with."""
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized:
        return False
    return not (tensor.dtype in _WITH_NAN and bool(torch.isnan(tensor).any()))


def _check_fit(path: Path, own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ModelError, naming the first differences, unless tensors of these shapes can be loaded."""
    offending = _differences(own, shapes)
    if offending:
        shown = ", ".join(offending[:SHOWN_NAMES])
        more = f" and {len(offending) - SHOWN_NAMES} more" if len(offending) > SHOWN_NAMES else ""
        raise ModelError(
            f"{path} does not fit the model: {shown}{more}; give weights of this model, or another --model"
        )


def _differences(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps tensors of these shapes from being loaded, one short phrase a tensor."""
    first = _first_names(own)
    present = {first[name] for name in shapes if name in own}
    missing = [f"{name} is missing" for name in own if first[name] not in present]
    unexpected = [f"{name[:MOST_NAME]} is unknown" for name in shapes if name not in own]
    reshaped = [
        f"{name} is {list(shape[:MOST_AXES])} instead of {list(own[name].shape)}"
        for name, shape in shapes.items()
        if name in own and shape != tuple(own[name].shape)
    ]
    return reshaped + missing + unexpected
