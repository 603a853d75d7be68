"""Weights on disk: reading, writing and naming them. Nothing is ever unpickled into code."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from autoprune.errors import ModelError

SHOWN_NAMES = 3


def load_weights(model: nn.Module, path: Path) -> None:
    """Read a ``.safetensors``, ``.pt`` or ``.pth`` state dict into ``model``, in place.

    A ``.pt`` file is read with ``weights_only=True`` and may nest the weights under ``"state_dict"``.
    Of tensors that the model shares under several names, one is enough.

    Raises ModelError when the file is missing, unreadable, or does not fit; the model is then untouched.
    """
    state = _read(Path(path))
    own = _tensors(model)
    offending = _differences(own, state)
    if offending:
        shown = ", ".join(offending[:SHOWN_NAMES])
        more = f" and {len(offending) - SHOWN_NAMES} more" if len(offending) > SHOWN_NAMES else ""
        raise ModelError(
            f"{path} does not fit the model: {shown}{more}; give weights of this model, or another --model"
        )
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors; tensors shared under several names are written once.

    The file appears whole or not at all. Raises ModelError when it cannot be written.
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
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, safetensors.torch.save(unique))
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error.strerror}): choose another folder") from error


def weights_hash(model: nn.Module) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes of the model's state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step, so that no reader and no crash ever sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}: check --weights")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ModelError(f"{path} is no .safetensors, .pt or .pth file: save the state dict as one of these")
    try:
        loaded: Any = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds more than weights: save model.state_dict() instead") from error
    except Exception as error:  # a damaged file fails anywhere in the reader, by assertions too
        raise ModelError(f"{path} is damaged or no weights file: copy or download it again") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path} holds no state dict: save model.state_dict()")
    return loaded


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What keeps ``state`` from being loaded, one short phrase a tensor."""
    first = _first_names(own)
    present = {first[name] for name in state if name in own}
    missing = [f"{name} is missing" for name in own if first[name] not in present]
    unexpected = [f"{name} is unknown" for name in state if name not in own]
    reshaped = [
        f"{name} is {list(tensor.shape)} instead of {list(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    return reshaped + missing + unexpected
