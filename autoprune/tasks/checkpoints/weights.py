"""Weights on disk: reading, writing and naming them. Nothing is ever unpickled into code."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from autoprune.config.weights_file import SAFETENSORS, SUFFIXES, WeightsFile
from autoprune.errors import DamagedError, DiskError, ModelError
from autoprune.tasks.checkpoints.archive import TORCHSCRIPT, load_archive
from autoprune.tasks.checkpoints.misfit import COUNTER, misfit
from autoprune.tasks.checkpoints.state_dicts import State, find_state, without_wrappers
from autoprune.utils.atomic_files import replace_file, why_not_written
from autoprune.utils.untrusted import is_file, short_line

MOST_HEADER = 4 << 20
"""Maximum header size of a safetensors file in bytes, enough for thirty thousand tensors."""
_WITH_NAN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_INDEX = ".safetensors.index.json"
_REFUSED = re.compile(r"GLOBAL (\S+)")


def load_weights(
    model: nn.Module, source: Path | WeightsFile, note: Callable[[str], None] | None = None
) -> None:
    """Load a state dict, or the one in a checkpoint, into `model`, in place, as ``load_state_dict`` does.

    Files of ``torch.save`` are read with ``weights_only=True``. A checkpoint may keep the weights in an entry
    such as ``"state_dict"``. Name prefixes of DataParallel, torch.compile or Lightning are stripped. One name
    is enough for shared tensors.

    Args:
        model: unchanged if this fails.
        source: a file with one of :data:`SUFFIXES`, optionally with the entry to load.
        note: called with one line if an entry was chosen or names were changed.

    Raises:
        ModelError: if the file is missing, unreadable, or does not fit; its subclass DamagedError if it is
            corrupt.
    """
    if not isinstance(source, WeightsFile):
        source = WeightsFile(Path(source))
    path, own = source.path, _tensors(model)
    _check_path(path)
    state, taken = find_state(_read(path), source)
    wrong = next((name for name, tensor in state.items() if not _is_plain(tensor)), None)
    if wrong is not None:
        raise ModelError(_not_plain(path, wrong))
    state, removed = without_wrappers(state, own)
    state = _with_shared(state, own)
    _check_loads(model, state, path)
    model.load_state_dict(state)
    done = " and ".join(phrase for phrase in (taken, removed) if phrase)
    if done and note is not None:
        note(f"{path}: {done}")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict as safetensors; tensors shared under several names are written once.

    The file is written atomically. Raises DiskError if it cannot be written.
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
    """The model's state dict. Raises ModelError if it contains anything other than tensors."""
    state = dict(model.state_dict())
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ModelError(f"the model's state {name!r} is not a tensor: register it as a buffer")
    return state


def _first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> the first name of the same memory (itself, if it is not shared)."""
    seen: dict[object, str] = {}
    first = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        shareable = tensor.numel() > 0 and not tensor.is_meta
        first[name] = seen.setdefault(place, name) if shareable else name
    return first


def _check_path(path: Path) -> None:
    if path.name.endswith(_INDEX):
        raise ModelError(
            f"{path} is the index of several files: load the model with its library and save it to one file "
            "with safetensors.torch.save_model(model, 'model.safetensors')"
        )
    if not is_file(path):
        raise ModelError(f"there is no weights file {path}: check --weights")
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES[:-1])
        raise ModelError(f"{path} is no {known} or {SUFFIXES[-1]} file: save the state dict as one of these")


def _read(path: Path) -> Any:
    return _from_safetensors(path) if path.suffix == SAFETENSORS else _from_torch(path)


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if header > MOST_HEADER:
            raise ValueError(f"a header of {header} bytes")
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged file fails anywhere in the reader
        raise _damaged(path) from error


def _from_torch(path: Path) -> Any:
    try:
        return load_archive(path)
    except pickle.UnpicklingError as error:
        raise ModelError(_holds_more(path, error)) from error
    except Exception as error:  # a damaged file fails anywhere in the reader, by assertions too
        raise _damaged(path) from error


def _holds_more(path: Path, error: pickle.UnpicklingError) -> str:
    named = _REFUSED.search(str(error))
    what = named.group(1) if named else short_line(error)
    if what == TORCHSCRIPT:
        return (
            f"{path} is {what}, no state dict: where you trust the file, write "
            f"torch.jit.load({path.name!r}, 'cpu').state_dict() into another with torch.save"
        )
    return (
        f"{path} holds more than weights ({what}), which is not loaded: where you trust the file, write "
        f"torch.load({path.name!r}, 'cpu', weights_only=False)['state_dict'], or of a whole model its "
        "state_dict(), into another with torch.save"
    )


def _damaged(path: Path) -> DamagedError:
    return DamagedError(f"{path} is damaged or no weights file: copy or download it again")


def _not_plain(path: Path, name: str) -> str:
    return f"{path}: {name} is no plain tensor of finite numbers: save other weights"


def _is_plain(tensor: Tensor) -> bool:
    """Whether a model can compute with a tensor of a file, whatever its values."""
    return not tensor.is_meta and tensor.layout is torch.strided and not tensor.is_quantized


def _with_shared(state: State, own: Mapping[str, Tensor]) -> State:
    """Add all names of shared tensors of which the file has one name."""
    first = _first_names(own)
    given = {first[name]: tensor for name, tensor in state.items() if name in own}
    added = {name: given[first[name]] for name in own if name not in state and first[name] in given}
    if not added:
        return state
    # A copy that keeps torch's version metadata.
    complete = copy.copy(state)
    complete.update(added)  # type: ignore[attr-defined]
    return complete


def _check_loads(model: nn.Module, state: State, path: Path) -> None:
    """Load into a copy, by PyTorch's own rules. Raises ModelError with the differences if that fails."""
    try:
        trial = copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied for a trial load ({short_line(error)}): "
            "remove non-leaf tensors from its attributes"
        ) from error
    own = {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    try:
        missing, unexpected = trial.load_state_dict(state, strict=False)
    except Exception as error:  # shapes that differ, or what the model's own hooks raise
        missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
        unexpected = [name for name in given if name not in own]
        if all(own.get(name, shape) == shape for name, shape in given.items()):
            raise ModelError(f"{path} cannot be loaded into the model: {short_line(error)}") from error
        raise _unfit(path, misfit(own, given, missing, unexpected)) from error
    if missing or unexpected:
        raise _unfit(path, misfit(own, given, missing, unexpected))
    wrong = next((name for name, tensor in _tensors(trial).items() if _has_nan(tensor)), None)
    if wrong is not None:
        raise ModelError(_not_plain(path, wrong))


def _unfit(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} does not fit the model: {reason}")


def _has_nan(tensor: Tensor) -> bool:
    return tensor.dtype in _WITH_NAN and not tensor.is_meta and bool(torch.isnan(tensor).any())
